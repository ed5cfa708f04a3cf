//! Intrinsic functions, resolved against the names that resources have on this machine.

use super::value::{placeholders, text_of};
use super::{ACCOUNT, REGION, STACK, Template, bucket_name, secret_arn};
use anyhow::{Result, anyhow, bail};
use serde_json::{Map, Value, json};

impl Template {
    /// Whether a value refers to a resource of this template.
    pub(super) fn names_resource(&self, raw: &Value) -> bool {
        match raw {
            Value::Object(members) => members.iter().any(|(key, value)| match (key.as_str(), value) {
                ("Ref", Value::String(id)) => self.resources.contains_key(id),
                ("Fn::GetAtt", _) => true,
                ("Fn::Sub", Value::String(text)) => {
                    placeholders(text).any(|name| self.resources.contains_key(name.split('.').next().unwrap_or(name)))
                }
                (_, value) => self.names_resource(value),
            }),
            Value::Array(values) => values.iter().any(|value| self.names_resource(value)),
            _ => false,
        }
    }

    pub(super) fn resolve(&self, value: &Value) -> Result<Value> {
        match value {
            Value::Array(values) => {
                let resolved: Result<Vec<_>> = values.iter().map(|value| self.resolve(value)).collect();
                Ok(resolved?.into_iter().filter(|value| !value.is_null()).collect())
            }
            Value::Object(members) => {
                if let Some((key, argument)) = members.iter().next()
                    && members.len() == 1
                    && (key == "Ref" || key.starts_with("Fn::") || key == "Condition")
                {
                    return self.intrinsic(key, argument);
                }
                let mut resolved = Map::new();
                for (key, value) in members {
                    resolved.insert(key.clone(), self.resolve(value)?);
                }
                Ok(Value::Object(resolved))
            }
            other => Ok(other.clone()),
        }
    }

    fn intrinsic(&self, key: &str, argument: &Value) -> Result<Value> {
        match (key, argument) {
            ("Ref", Value::String(name)) => self.reference(name),
            ("Condition", Value::String(name)) => {
                self.resolve(self.conditions.get(name).ok_or_else(|| anyhow!("unknown condition {name}"))?)
            }
            ("Fn::GetAtt", Value::Array(path)) => {
                self.attribute(&text_of(&path[0]), &path[1..].iter().map(text_of).collect::<Vec<_>>().join("."))
            }
            ("Fn::Sub", Value::String(text)) => self.substitute(text).map(Value::String),
            ("Fn::If", Value::Array(branches)) if branches.len() == 3 => {
                let holds = self.intrinsic("Condition", &branches[0])? == true;
                self.resolve(&branches[if holds { 1 } else { 2 }])
            }
            ("Fn::Not", Value::Array(inner)) if inner.len() == 1 => Ok(json!(self.resolve(&inner[0])? != true)),
            ("Fn::Equals", Value::Array(pair)) if pair.len() == 2 => {
                Ok(json!(self.resolve(&pair[0])? == self.resolve(&pair[1])?))
            }
            _ => bail!("{key} is not known here"),
        }
    }

    fn reference(&self, name: &str) -> Result<Value> {
        if let Some(parameter) = self.parameters.get(name) {
            return Ok(parameter["Default"].clone());
        }
        Ok(match name {
            "AWS::Region" => json!(REGION),
            "AWS::AccountId" => json!(ACCOUNT),
            "AWS::Partition" => json!("aws"),
            "AWS::URLSuffix" => json!("amazonaws.com"),
            "AWS::StackName" => json!(STACK),
            "AWS::NoValue" => Value::Null,
            id => match self.resources.get(id).map(|resource| &resource["Type"]) {
                Some(Value::String(kind)) if kind == "AWS::SQS::Queue" => {
                    json!(format!("{}/{ACCOUNT}/{}", self.aws_url, self.queue_name(id)))
                }
                Some(Value::String(kind)) if kind == "AWS::SecretsManager::Secret" => json!(secret_arn(id)),
                Some(Value::String(kind)) if kind == "AWS::S3::Bucket" => json!(bucket_name(id)),
                Some(_) => json!(id),
                None => bail!("nothing is called {name}"),
            },
        })
    }

    fn attribute(&self, id: &str, attribute: &str) -> Result<Value> {
        let kind = self.resources.get(id).and_then(|resource| resource["Type"].as_str());
        Ok(match (kind, attribute) {
            (Some("AWS::SQS::Queue"), "Arn") => {
                json!(format!("arn:aws:sqs:{REGION}:{ACCOUNT}:{}", self.queue_name(id)))
            }
            (Some("AWS::SQS::Queue"), "QueueName") => json!(self.queue_name(id)),
            (Some("AWS::DynamoDB::Table"), "Arn") => json!(format!("arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{id}")),
            (Some("AWS::S3::Bucket"), "Arn") => json!(format!("arn:aws:s3:::{}", bucket_name(id))),
            (Some(_), "Arn") => json!(format!("arn:aws:local:{REGION}:{ACCOUNT}:{id}")),
            _ => bail!("{id}.{attribute} is not known here"),
        })
    }

    fn substitute(&self, text: &str) -> Result<String> {
        let mut resolved = text.to_owned();
        for name in placeholders(text) {
            let value = match name.split_once('.') {
                Some((id, attribute)) => self.attribute(id, attribute)?,
                None => self.reference(name)?,
            };
            resolved = resolved.replace(&format!("${{{name}}}"), &text_of(&value));
        }
        Ok(resolved)
    }
}
