//! ALIS credentials by company.

use crate::error::AdtError;
use crate::model::CompanyKey;
use std::collections::HashSet;
use switchyard_core::{Env, EnvError};
use switchyard_identity::BasicCredentials;
use switchyard_io::{SecretError, SecretValues, Secrets};

/// ALIS credentials, one secret per company: `<ALIS_SECRET_PREFIX><company key>` holding `username` and `password`.
///
/// Only companies listed in `ALIS_SANDBOX_COMPANIES` fall back on the sandbox's credentials. Any other company without a
/// secret is refused, so that no tenant is read with the rights of another.
#[derive(Clone)]
pub(crate) struct Credentials {
    secrets: Secrets,
    prefix: String,
    sandbox: SandboxCredentials,
    sandbox_companies: HashSet<String>,
}

/// The credentials of ALIS's sandbox: `ALIS_TEST_USERNAME` and `ALIS_TEST_PASSWORD` in the secret that
/// `ALIS_SANDBOX_SECRET` names.
#[derive(Clone)]
pub(crate) struct SandboxCredentials {
    secrets: Secrets,
    secret_id: String,
}

impl SandboxCredentials {
    pub(crate) fn from_env(secrets: &Secrets, env: &Env) -> Result<Self, EnvError> {
        Ok(Self { secrets: secrets.clone(), secret_id: env.required("ALIS_SANDBOX_SECRET")? })
    }

    pub(crate) async fn get(&self) -> Result<BasicCredentials, AdtError> {
        let values = self.secrets.get(&self.secret_id).await.map_err(AdtError::Secret)?;
        pair(&values, "ALIS_TEST_USERNAME", "ALIS_TEST_PASSWORD")
    }
}

impl Credentials {
    pub(crate) fn from_env(secrets: &Secrets, env: &Env) -> Result<Self, EnvError> {
        let listed = env.optional("ALIS_SANDBOX_COMPANIES").unwrap_or_default();
        let companies = listed.split(',').map(str::trim).filter(|key| !key.is_empty()).map(str::to_owned);
        Ok(Self {
            secrets: secrets.clone(),
            prefix: env.required("ALIS_SECRET_PREFIX")?,
            sandbox: SandboxCredentials::from_env(secrets, env)?,
            sandbox_companies: companies.collect(),
        })
    }

    /// The company's credentials. If ALIS `refused` them, the secret is fetched again: it may have been rotated.
    pub(crate) async fn of(&self, company_key: &CompanyKey, refused: bool) -> Result<BasicCredentials, AdtError> {
        let id = format!("{}{}", self.prefix, secret_name(company_key.as_str()));
        let found = if refused { self.secrets.refreshed(&id).await } else { self.secrets.get(&id).await };
        match found {
            Ok(values) => pair(&values, "username", "password"),
            Err(SecretError::NotFound { .. }) if self.sandbox_companies.contains(company_key.as_str()) => {
                tracing::debug!(tenant_id = company_key.as_str(), "using the sandbox's credentials");
                self.sandbox.get().await
            }
            Err(SecretError::NotFound { .. }) => Err(AdtError::NoCredentials),
            Err(error) => Err(AdtError::Secret(error)),
        }
    }
}

fn pair(values: &SecretValues, user: &str, password: &str) -> Result<BasicCredentials, AdtError> {
    match (values.required(user), values.required(password)) {
        (Ok(user), Ok(password)) => Ok(BasicCredentials { user: user.expose().clone(), password }),
        _ => Err(AdtError::NoCredentials),
    }
}

/// A company key as part of a secret's name, which allows letters, digits and `/_+=.@-`; other bytes become `=xx`.
fn secret_name(company_key: &str) -> String {
    let mut name = String::new();
    for byte in company_key.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'.' | b'@' | b'-' => name.push(char::from(byte)),
            other => name.push_str(&format!("={other:02x}")),
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn company_keys_become_distinct_secret_names() {
        assert_eq!(secret_name("appstoresandbox"), "appstoresandbox");
        assert_eq!(secret_name("a/b c"), "a=2fb=20c");
        assert_ne!(secret_name("a=2f"), secret_name("a/"));
    }
}
