//! Settings: read from the environment, checked once at start.

use std::fmt::Display;
use std::str::FromStr;
use std::sync::Arc;

/// Settings by name. A blank value counts as unset.
///
/// Tests hand in a lookup of their own; only [`Env::process`] touches the process environment.
#[derive(Clone)]
pub struct Env(Arc<Lookup>);

type Lookup = dyn Fn(&str) -> Option<String> + Send + Sync;

/// A setting that stops the start. The message names the variable, never its value.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum EnvError {
    /// The variable is unset or blank.
    #[error("setting {name} is missing")]
    Missing {
        /// Its name.
        name: String,
    },
    /// The variable is set to something that cannot be used.
    #[error("setting {name} is wrong: {reason}")]
    Invalid {
        /// Its name.
        name: String,
        /// What was expected.
        reason: String,
    },
}

impl Env {
    /// The process environment.
    #[expect(clippy::disallowed_methods, reason = "this is the typed reader everything else uses")]
    pub fn process() -> Self {
        Self::from_lookup(|name| std::env::var(name).ok())
    }

    /// Settings from any lookup.
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Self {
        Self(Arc::new(lookup))
    }

    /// The value, or `None` when unset or blank.
    pub fn optional(&self, name: &str) -> Option<String> {
        (self.0)(name).filter(|value| !value.trim().is_empty())
    }

    /// The value.
    ///
    /// # Errors
    /// [`EnvError::Missing`] when unset or blank.
    pub fn required(&self, name: &str) -> Result<String, EnvError> {
        self.optional(name).ok_or_else(|| EnvError::Missing { name: name.to_owned() })
    }

    /// The value parsed, or `default` when unset or blank.
    ///
    /// # Errors
    /// [`EnvError::Invalid`] when it does not parse.
    pub fn parsed<T>(&self, name: &str, default: T) -> Result<T, EnvError>
    where
        T: FromStr,
        T::Err: Display,
    {
        self.optional(name).map_or(Ok(default), |text| parse(name, &text))
    }

    /// The value parsed.
    ///
    /// # Errors
    /// [`EnvError::Missing`] when unset or blank, [`EnvError::Invalid`] when it does not parse.
    pub fn required_parsed<T>(&self, name: &str) -> Result<T, EnvError>
    where
        T: FromStr,
        T::Err: Display,
    {
        parse(name, &self.required(name)?)
    }

    /// An absolute `http://` or `https://` address, without its trailing slash.
    ///
    /// # Errors
    /// Missing, or not such an address.
    pub fn base_url(&self, name: &str) -> Result<String, EnvError> {
        let text = self.required(name)?;
        let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        match rest {
            Some(rest) if !rest.is_empty() && !rest.starts_with('/') && !rest.contains(char::is_whitespace) => {
                Ok(text.trim_end_matches('/').to_owned())
            }
            _ => Err(EnvError::Invalid {
                name: name.to_owned(),
                reason: "expected an address such as https://api.example.com".to_owned(),
            }),
        }
    }
}

fn parse<T>(name: &str, text: &str) -> Result<T, EnvError>
where
    T: FromStr,
    T::Err: Display,
{
    text.trim().parse().map_err(|error: T::Err| EnvError::Invalid { name: name.to_owned(), reason: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(pairs: &'static [(&'static str, &'static str)]) -> Env {
        Env::from_lookup(move |name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn blank_is_missing_and_the_error_names_the_variable() {
        let error = env(&[("TABLE", "  ")]).required("TABLE").unwrap_err();
        assert_eq!(error.to_string(), "setting TABLE is missing");
    }

    #[test]
    fn a_wrong_number_names_the_variable_not_its_value() {
        let error = env(&[("RETRIES", "hunter2")]).parsed("RETRIES", 3_u32).unwrap_err();
        assert!(error.to_string().contains("RETRIES") && !error.to_string().contains("hunter2"));
    }

    #[test]
    fn addresses_lose_their_trailing_slash_and_need_a_scheme() {
        assert_eq!(env(&[("A", "https://x.example/")]).base_url("A").unwrap(), "https://x.example");
        for wrong in ["x.example", "ftp://x", "https://", "https:///p", "http://a b"] {
            assert!(Env::from_lookup(move |_| Some(wrong.to_owned())).base_url("A").is_err(), "{wrong}");
        }
    }
}
