//! The AWS configuration that all clients share.

use crate::secrets::KnownSecrets;
use aws_config::environment::{EnvironmentVariableCredentialsProvider, EnvironmentVariableRegionProvider};
use aws_config::retry::RetryConfig;
use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, ConfigLoader, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use std::time::Duration;

/// What every AWS client is built from; made once, in `main`.
#[derive(Clone)]
pub struct Aws(pub(crate) SdkConfig, pub(crate) KnownSecrets);

impl Aws {
    /// Reads `AWS_REGION`, the credential variables and `AWS_ENDPOINT_URL…`. Opens no connection.
    ///
    /// Region and credentials come from the variables that Lambda sets. Other providers (profiles, instance metadata)
    /// are left out on purpose: they cost start-up time and a function never needs them.
    pub async fn from_env() -> Self {
        let loader = loader()
            .region(EnvironmentVariableRegionProvider::new())
            .credentials_provider(EnvironmentVariableCredentialsProvider::new());
        Self(loader.load().await, KnownSecrets::default())
    }

    /// An endpoint that serves every service and takes any credentials, as `cargo dev` does.
    pub async fn at(endpoint: &str) -> Self {
        let loader = loader()
            .region(Region::new("us-east-1"))
            .credentials_provider(Credentials::new("local", "local", None, None, "local"))
            .endpoint_url(endpoint);
        Self(loader.load().await, KnownSecrets::default())
    }

    /// The operator's own account: environment, shared profiles, and whatever else AWS tools read.
    pub async fn from_profile(profile: Option<&str>) -> Self {
        let mut loader = loader();
        if let Some(profile) = profile {
            loader = loader.profile_name(profile);
        }
        Self(loader.load().await, KnownSecrets::default())
    }

    /// For clients of services that only one command uses.
    pub fn sdk_config(&self) -> &SdkConfig {
        &self.0
    }
}

fn loader() -> ConfigLoader {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(Duration::from_secs(2))
        .operation_attempt_timeout(Duration::from_secs(3))
        .operation_timeout(Duration::from_secs(8))
        .build();
    aws_config::defaults(BehaviorVersion::latest())
        .http_client(
            aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https(),
        )
        .retry_config(RetryConfig::standard().with_max_attempts(3))
        .timeout_config(timeouts)
        // It watches bodies that flow for long. Ours are short, and the timeouts above hold for them whole.
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
}
