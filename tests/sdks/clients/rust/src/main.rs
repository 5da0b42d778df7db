//! The default credentials chain of the SDK for Rust: a line in ("load" or "again"), a line of JSON out.
use std::error::Error;
use std::io::BufRead;

use aws_config::default_provider::credentials::DefaultCredentialsChain;
use aws_credential_types::provider::ProvideCredentials;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut chain = DefaultCredentialsChain::builder().build().await;
    for line in std::io::stdin().lock().lines() {
        if line.unwrap() == "load" {
            chain = DefaultCredentialsChain::builder().build().await;
        }
        match chain.provide_credentials().await {
            Ok(found) => println!("{{\"key\":\"{}\"}}", found.access_key_id()),
            Err(error) => {
                let mut said = error.to_string();
                let mut cause: Option<&dyn Error> = error.source();
                while let Some(inner) = cause {
                    said += &format!(": {inner}");
                    cause = inner.source();
                }
                println!("{{\"error\":{said:?}}}");
            }
        }
    }
}
