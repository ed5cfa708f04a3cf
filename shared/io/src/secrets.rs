//! Secrets Manager, with a cache.

use crate::Aws;
use crate::dynamo::CallError;
use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::error::SdkError;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use switchyard_core::{Classify, Disposition, EnvError, Secret};

/// The names and values of one secret, whose text is a flat JSON object of strings.
#[derive(Clone, Debug)]
pub struct SecretValues {
    id: String,
    values: HashMap<String, Secret<String>>,
}

impl SecretValues {
    /// The value called `name`.
    ///
    /// # Errors
    /// [`EnvError::Missing`], naming secret and value, when absent or blank.
    pub fn required(&self, name: &str) -> Result<Secret<String>, EnvError> {
        self.values
            .get(name)
            .filter(|value| !value.expose().trim().is_empty())
            .cloned()
            .ok_or_else(|| EnvError::Missing { name: format!("{name} (in secret {})", self.id) })
    }
}

/// A secret that could not be had.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The secret does not exist.
    #[error("secret {id} does not exist")]
    NotFound {
        /// Its name or ARN.
        id: String,
    },
    /// Secrets Manager could not be reached or refused.
    #[error("fetching secret {id}")]
    Call {
        /// Its name or ARN.
        id: String,
        /// The failure.
        #[source]
        source: CallError,
        /// Throttled, timed out, or a fault of the service.
        transient: bool,
    },
    /// Its text is not a flat JSON object of strings.
    #[error("secret {id} is not a flat JSON object of strings")]
    Shape {
        /// Its name or ARN.
        id: String,
    },
}

impl Classify for SecretError {
    fn disposition(&self) -> Disposition {
        match self {
            Self::Call { transient: true, .. } => Disposition::Retry { after: None },
            Self::NotFound { .. } | Self::Shape { .. } | Self::Call { .. } => Disposition::Permanent,
        }
    }
}

/// Secrets, each fetched once for the whole process and kept for five minutes.
///
/// A value that was just refused by its user may have been rotated: [`Secrets::refreshed`] fetches it anew, at most
/// every 30 s. When a fetch fails and an older value is known, that one stays in use. A secret that does not exist is
/// remembered as such for 30 s.
#[derive(Clone)]
pub struct Secrets {
    client: Client,
    known: KnownSecrets,
}

/// What was fetched, by id; one for all clients of one [`Aws`].
pub(crate) type KnownSecrets = Arc<Mutex<HashMap<String, Known>>>;

#[derive(Clone)]
pub(crate) struct Known {
    values: Option<Arc<SecretValues>>,
    fetched: Instant,
}

const KEEP: Duration = Duration::from_secs(300);
const REFRESH_EVERY: Duration = Duration::from_secs(30);

impl Secrets {
    /// Shares what is known with all others of the same [`Aws`].
    pub fn new(aws: &Aws) -> Self {
        Self { client: Client::new(&aws.0), known: aws.1.clone() }
    }

    /// The secret `id` (a name or an ARN).
    ///
    /// # Errors
    /// It does not exist, or it was never fetched and cannot be now.
    pub async fn get(&self, id: &str) -> Result<Arc<SecretValues>, SecretError> {
        self.not_older_than(id, KEEP).await
    }

    /// The secret `id`, fetched anew unless that happened in the last 30 s.
    ///
    /// # Errors
    /// As [`Secrets::get`].
    pub async fn refreshed(&self, id: &str) -> Result<Arc<SecretValues>, SecretError> {
        self.not_older_than(id, REFRESH_EVERY).await
    }

    async fn not_older_than(&self, id: &str, age: Duration) -> Result<Arc<SecretValues>, SecretError> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned();
        match &known {
            Some(Known { values: Some(values), fetched }) if fetched.elapsed() < age => return Ok(values.clone()),
            Some(Known { values: None, fetched }) if fetched.elapsed() < REFRESH_EVERY => {
                return Err(SecretError::NotFound { id: id.to_owned() });
            }
            _ => {}
        }
        let fetched = self.fetch(id).await;
        let values = match (&fetched, known) {
            (Ok(values), _) => Some(values.clone()),
            (Err(SecretError::NotFound { .. }), _) => None,
            (Err(error), Some(Known { values: Some(old), .. })) => {
                tracing::warn!(error = %switchyard_core::error_chain(error), "keeping the secret fetched earlier");
                Some(old)
            }
            (Err(_), _) => return fetched,
        };
        let entry = Known { values: values.clone(), fetched: Instant::now() };
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(id.to_owned(), entry);
        values.ok_or_else(|| SecretError::NotFound { id: id.to_owned() })
    }

    async fn fetch(&self, id: &str) -> Result<Arc<SecretValues>, SecretError> {
        let answer = self.client.get_secret_value().secret_id(id).send().await.map_err(|error| match &error {
            SdkError::ServiceError(service) if service.err().is_resource_not_found_exception() => {
                SecretError::NotFound { id: id.to_owned() }
            }
            _ => {
                let (source, transient) = CallError::from_sdk(&error);
                SecretError::Call { id: id.to_owned(), source, transient }
            }
        })?;
        let values = serde_json::from_str(answer.secret_string().unwrap_or_default())
            .map_err(|_| SecretError::Shape { id: id.to_owned() })?;
        Ok(Arc::new(SecretValues { id: id.to_owned(), values }))
    }
}
