//! Secrets Manager, as far as functions and the `aws` command need it: names, values, and a file that stores them.
//!
//! The one maintained crate for it brings a second TLS stack into the workspace (docs/adr/0003).

use crate::template::secret_arn;
use anyhow::{Context as _, Result};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

/// All secrets, by name.
#[derive(Debug)]
pub(crate) struct Secrets {
    values: Mutex<BTreeMap<String, String>>,
    file: Option<PathBuf>,
}

impl Secrets {
    /// Loads the file, if one is given and exists.
    pub(crate) fn open(file: Option<PathBuf>) -> Result<Self> {
        let text = file.as_ref().filter(|path| path.exists()).map(std::fs::read_to_string).transpose()?;
        let values = text.map(|text| serde_json::from_str(&text)).transpose().context("reading the local secrets")?;
        Ok(Self { values: Mutex::new(values.unwrap_or_default()), file })
    }

    /// The JSON object a secret holds.
    pub(crate) fn object(&self, name: &str) -> Map<String, Value> {
        let values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        values.get(name).and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
    }

    /// Sets a secret's text.
    pub(crate) fn put(&self, name: &str, text: String) -> Result<()> {
        let mut values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        values.insert(name.to_owned(), text);
        self.keep(&values)
    }

    fn keep(&self, values: &BTreeMap<String, String>) -> Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        // A temporary file is renamed, so that a crash leaves the old file or the new one.
        let beside = file.with_extension("new");
        std::fs::write(&beside, serde_json::to_vec_pretty(values)?)?;
        std::fs::rename(&beside, file).context("keeping the local secrets")
    }

    /// Returns one call of the JSON protocol: status and body.
    pub(crate) fn handle(&self, action: &str, request: &Value) -> (u16, Value) {
        let text = |name: &str| request[name].as_str().unwrap_or_default().to_owned();
        let given = text("SecretId");
        let prefix = secret_arn("");
        let name = given.strip_prefix(&prefix).unwrap_or(&given).to_owned();
        let known = self.values.lock().unwrap_or_else(PoisonError::into_inner).get(&name).cloned();
        let about = |name: &str| json!({"ARN": secret_arn(name), "Name": name, "VersionId": "local"});
        match (action, known) {
            ("CreateSecret", _) => {
                let name = text("Name");
                let taken = self.values.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&name);
                if name.is_empty() {
                    return refused("InvalidParameterException", "Name is missing");
                }
                if taken {
                    return refused("ResourceExistsException", "a secret of this name exists");
                }
                self.stored(&name, text("SecretString"))
            }
            ("ListSecrets", _) => {
                let values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
                (200, json!({"SecretList": values.keys().map(|name| about(name)).collect::<Vec<_>>()}))
            }
            ("GetSecretValue", Some(value)) => {
                let mut answer = about(&name);
                answer["SecretString"] = value.into();
                answer["VersionStages"] = json!(["AWSCURRENT"]);
                (200, answer)
            }
            ("DescribeSecret", Some(_)) => (200, about(&name)),
            ("PutSecretValue" | "UpdateSecret", Some(_)) => self.stored(&name, text("SecretString")),
            ("DeleteSecret", Some(_)) => {
                let mut values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
                values.remove(&name);
                match self.keep(&values) {
                    Ok(()) => (200, about(&name)),
                    Err(error) => refused("InternalServiceError", &format!("{error:#}")),
                }
            }
            ("GetSecretValue" | "DescribeSecret" | "PutSecretValue" | "UpdateSecret" | "DeleteSecret", None) => {
                refused("ResourceNotFoundException", "Secrets Manager can't find the specified secret.")
            }
            _ => refused("UnknownOperationException", "this operation is not served locally"),
        }
    }

    fn stored(&self, name: &str, text: String) -> (u16, Value) {
        match self.put(name, text) {
            Ok(()) => (200, json!({"ARN": secret_arn(name), "Name": name, "VersionId": "local"})),
            Err(error) => refused("InternalServiceError", &format!("{error:#}")),
        }
    }
}

fn refused(code: &str, message: &str) -> (u16, Value) {
    (400, json!({"__type": code, "message": message}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_answer_by_name_and_by_arn_and_survive_a_restart() {
        let file = std::env::temp_dir().join(format!("switchyard-secrets-{}", std::process::id()));
        let secrets = Secrets::open(Some(file.clone())).unwrap();
        assert_eq!(secrets.handle("CreateSecret", &json!({"Name": "a/b", "SecretString": "{\"k\":\"v\"}"})).0, 200);
        assert_eq!(secrets.handle("CreateSecret", &json!({"Name": "a/b"})).1["__type"], "ResourceExistsException");
        let reopened = Secrets::open(Some(file.clone())).unwrap();
        std::fs::remove_file(file).unwrap();
        for id in ["a/b".to_owned(), secret_arn("a/b")] {
            assert_eq!(reopened.handle("GetSecretValue", &json!({"SecretId": id})).1["SecretString"], "{\"k\":\"v\"}");
        }
        assert_eq!(
            reopened.handle("GetSecretValue", &json!({"SecretId": "x"})).1["__type"],
            "ResourceNotFoundException"
        );
    }
}
