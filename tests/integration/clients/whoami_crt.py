"""The AWS Common Runtime's default chain (under the C++, Swift and other SDKs): prints the access key that it found."""

from awscrt import auth, io

group = io.EventLoopGroup(1)
bootstrap = io.ClientBootstrap(group, io.DefaultHostResolver(group))
provider = auth.AwsCredentialsProvider.new_default_chain(bootstrap)
print(provider.get_credentials().result(10).access_key_id)
