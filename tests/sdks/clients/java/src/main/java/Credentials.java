import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import software.amazon.awssdk.auth.credentials.DefaultCredentialsProvider;
import software.amazon.awssdk.core.exception.SdkException;

/** The default credentials chain of the SDK for Java v2: a line in ("load" or "again"), a line of JSON out. */
public final class Credentials {
    public static void main(String[] words) throws IOException {
        DefaultCredentialsProvider chain = null;
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            if (line.equals("load")) {
                chain = DefaultCredentialsProvider.builder().build();
            }
            try {
                System.out.println("{\"key\":\"" + chain.resolveCredentials().accessKeyId() + "\"}");
            } catch (SdkException error) {
                String said = error.toString().replace("\\", "/").replace("\"", "'").replaceAll("\\s", " ");
                System.out.println("{\"error\":\"" + said + "\"}");
            }
        }
    }
}
