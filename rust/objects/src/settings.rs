//! How a bucket is opened: its URL, options, and the environment.

use std::env;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzure, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorage, GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::path::Path;
use object_store::signer::Url;
use object_store::{BackoffConfig, ClientOptions, RetryConfig};

use crate::bucket::Bucket;
use crate::operation::Counts;
use crate::transport::Connector;

/// The longest time to connect. A store is near, so this is much; and one that is away should be noticed soon.
const CONNECT: Duration = Duration::from_secs(5);

/// The longest pause before a request is sent again.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// The type of all objects. A browser must not run what somebody has pushed.
const CONTENT_TYPE: &str = "application/octet-stream";

/// A message for people about settings that cannot be used. It repeats no values of options.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(String);

/// How a bucket is opened.
#[derive(Clone)]
pub struct Settings {
    /// `s3://bucket/prefix`, `gs://bucket/prefix` or `az://container/prefix`.
    pub url: String,
    /// Options of `object_store`, by name. They override the environment.
    pub options: Vec<(String, String)>,
    /// The endpoint in signed URLs, if clients use another one.
    pub public_endpoint: Option<String>,
    /// Time after which a request is not sent again.
    pub retry: Duration,
    /// The longest wait for an answer, and for the next bytes of it.
    pub wait: Duration,
}

impl Settings {
    /// Open the bucket. This sends nothing.
    ///
    /// # Errors
    /// The URL or an option cannot be used.
    pub fn open(&self) -> Result<Bucket, Invalid> {
        // An error means that the process has chosen a provider already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let url =
            Url::parse(&self.url).map_err(|error| Invalid(format!("the URL of the bucket is not valid: {error}")))?;
        let prefix = Path::from_url_path(url.path())
            .map_err(|_| Invalid("the path in the URL of the bucket is not one of plain names".into()))?;
        let counts = Arc::<Counts>::default();
        match url.scheme() {
            "s3" => {
                let store = self.build::<AmazonS3Builder>(&counts, None)?;
                let signer = match &self.public_endpoint {
                    Some(endpoint) => self.build::<AmazonS3Builder>(&counts, Some(endpoint))?,
                    None => Arc::clone(&store),
                };
                Ok(Bucket::new(store, Some(signer), prefix, counts))
            }
            "gs" | "az" if self.public_endpoint.is_some() => {
                Err(Invalid("only buckets of S3 can have a public endpoint".into()))
            }
            "gs" => {
                let store = self.build::<GoogleCloudStorageBuilder>(&counts, None)?;
                Ok(Bucket::new(Arc::clone(&store), Some(store), prefix, counts))
            }
            "az" => {
                let store = self.build::<MicrosoftAzureBuilder>(&counts, None)?;
                Ok(Bucket::new(Arc::clone(&store), Some(store), prefix, counts))
            }
            _ => Err(Invalid("the URL of a bucket begins with s3://, gs:// or az://".into())),
        }
    }

    fn build<B: Builder>(&self, counts: &Arc<Counts>, endpoint: Option<&String>) -> Result<Arc<B::Store>, Invalid> {
        // The transport limits waiting. A limit for the whole request would cut large bodies.
        let client = ClientOptions::new()
            .with_timeout_disabled()
            .with_connect_timeout(CONNECT.min(self.wait))
            .with_default_content_type(CONTENT_TYPE);
        let backoff = BackoffConfig { max_backoff: LONGEST_PAUSE, ..BackoffConfig::default() };
        let retry = RetryConfig { backoff, max_retries: usize::MAX, retry_timeout: self.retry };
        let connector = Connector { counts: Arc::clone(counts), wait: self.wait };
        let mut builder = B::new(&self.url, client, retry, connector);
        for (name, value) in env::vars_os() {
            let (Some(name), Ok(value)) = (name.to_str(), value.into_string()) else { continue };
            if name.starts_with(B::ENVIRONMENT) {
                if let Ok(key) = name.to_ascii_lowercase().parse() {
                    builder = builder.set(key, value);
                }
            }
        }
        for (name, value) in &self.options {
            let unknown = |_| Invalid(format!("this kind of bucket has no option {name:?}"));
            builder = builder.set(name.parse().map_err(unknown)?, value.clone());
        }
        let option = |name: &str| name.parse::<B::Key>().map_err(|_| Invalid(format!("no option {name:?}")));
        if let Some(endpoint) = endpoint {
            builder = builder.set(option("endpoint")?, endpoint.clone());
        }
        let is_plain = builder.endpoint().is_some_and(|endpoint| endpoint.starts_with("http://"));
        let builder = builder.set(option("allow_http")?, is_plain.to_string());
        builder.finish().map(Arc::new).map_err(|error| self.withheld(&error))
    }

    /// What is wrong, without the values that `error` may repeat.
    fn withheld(&self, error: &object_store::Error) -> Invalid {
        let mut cause: &dyn std::error::Error = error;
        while let Some(source) = cause.source() {
            cause = source;
        }
        let cause = cause.to_string();
        let repeats = |(_, value): &(String, String)| !value.is_empty() && cause.contains(value);
        Invalid(if self.options.iter().any(repeats) {
            "a value of the options of the bucket is not valid".into()
        } else {
            format!("the bucket cannot be opened with these options: {cause}")
        })
    }
}

/// What the builders of `object_store` have in common.
trait Builder: Sized {
    type Key: FromStr;
    type Store;

    /// What the names of its variables begin with.
    const ENVIRONMENT: &'static str;

    fn new(url: &str, client: ClientOptions, retry: RetryConfig, connector: Connector) -> Self;
    fn set(self, key: Self::Key, value: String) -> Self;
    fn endpoint(&self) -> Option<String>;
    fn finish(self) -> object_store::Result<Self::Store>;
}

macro_rules! builder {
    ($builder:ty, $key:ty, $store:ty, $environment:literal, $endpoint:expr) => {
        impl Builder for $builder {
            type Key = $key;
            type Store = $store;

            const ENVIRONMENT: &'static str = $environment;

            fn new(url: &str, client: ClientOptions, retry: RetryConfig, connector: Connector) -> Self {
                <$builder>::new()
                    .with_url(url)
                    .with_client_options(client)
                    .with_retry(retry)
                    .with_http_connector(connector)
            }

            fn set(self, key: $key, value: String) -> Self {
                self.with_config(key, value)
            }

            fn endpoint(&self) -> Option<String> {
                self.get_config_value(&$endpoint)
            }

            fn finish(self) -> object_store::Result<$store> {
                self.build()
            }
        }
    };
}

builder!(AmazonS3Builder, AmazonS3ConfigKey, AmazonS3, "AWS_", AmazonS3ConfigKey::Endpoint);
builder!(MicrosoftAzureBuilder, AzureConfigKey, MicrosoftAzure, "AZURE_", AzureConfigKey::Endpoint);
builder!(GoogleCloudStorageBuilder, GoogleConfigKey, GoogleCloudStorage, "GOOGLE_", GoogleConfigKey::BaseUrl);
