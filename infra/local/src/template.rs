//! `template.yaml`, resolved for one machine.

mod intrinsic;
mod resource;
mod value;

pub use resource::{FunctionSpec, Mapping, Route, Schedule};
pub(crate) use value::text_of;

use anyhow::{Context as _, Result, anyhow, bail};
use serde_json::{Map, Value};
use std::path::Path;
use value::to_json;

pub(crate) use switchyard_sqs::{ACCOUNT, REGION};

/// A SAM template whose intrinsic functions can be resolved against local names.
#[derive(Clone, Debug)]
pub struct Template {
    parameters: Map<String, Value>,
    conditions: Map<String, Value>,
    globals: Value,
    resources: Map<String, Value>,
    /// The base of queue URLs: the AWS endpoint.
    aws_url: String,
}

/// The stack's name on this machine.
const STACK: &str = "switchyard";

/// A function's concurrent invocations on this machine, unless the template limits it or its queue.
const DEFAULT_CONCURRENCY: usize = 8;

impl Template {
    /// Reads a template file.
    ///
    /// # Errors
    /// The file is missing or not a template.
    pub fn read(path: &Path, aws_url: &str) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        Self::parse(&text, aws_url).with_context(|| format!("in {}", path.display()))
    }

    /// Parses a template's text.
    ///
    /// # Errors
    /// It is not a template.
    pub fn parse(text: &str, aws_url: &str) -> Result<Self> {
        let yaml: serde_yaml_ng::Value = serde_yaml_ng::from_str(text)?;
        let Value::Object(mut document) = to_json(yaml)? else { bail!("the template is not a mapping") };
        let mut section = |name: &str| match document.remove(name) {
            Some(Value::Object(members)) => Ok(members),
            None => Ok(Map::new()),
            Some(_) => Err(anyhow!("{name} is not a mapping")),
        };
        let (parameters, conditions, resources) =
            (section("Parameters")?, section("Conditions")?, section("Resources")?);
        let globals = Value::Object(section("Globals")?);
        Ok(Self { parameters, conditions, globals, resources, aws_url: aws_url.to_owned() })
    }

    /// Logical ids and properties of one type of resource, resolved.
    ///
    /// # Errors
    /// A property uses something this host does not know.
    pub fn resources(&self, kind: &str) -> Result<Vec<(String, Value)>> {
        let of_kind = self.resources.iter().filter(|(_, resource)| resource["Type"] == kind);
        of_kind
            .map(|(id, resource)| {
                let properties = self.resolve(&resource["Properties"]).with_context(|| format!("resource {id}"))?;
                Ok((id.clone(), properties))
            })
            .collect()
    }

    /// The local name of a queue, with `.fifo` where it is one.
    pub fn queue_name(&self, id: &str) -> String {
        let properties = &self.resources[id]["Properties"];
        let suffix = if properties["FifoQueue"] == true { ".fifo" } else { "" };
        format!("{id}{suffix}")
    }
    /// Names of every bucket.
    ///
    /// # Errors
    /// A bucket's properties cannot be resolved.
    pub fn bucket_names(&self) -> Result<Vec<String>> {
        Ok(self.resources("AWS::S3::Bucket")?.iter().map(|(id, _)| bucket_name(id)).collect())
    }
}

/// The ARN of a local secret.
pub(crate) fn secret_arn(name: &str) -> String {
    format!("arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:{name}")
}

/// The name of a bucket: lower case, as S3 requires.
fn bucket_name(id: &str) -> String {
    id.to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::resource::Variable;
    use super::*;

    const TEXT: &str = r#"
Parameters: { Stage: { Type: String, Default: dev }, Topic: { Type: String, Default: "" } }
Conditions: { HasTopic: !Not [!Equals [!Ref Topic, ""]] }
Globals: { Function: { Timeout: 7, Environment: { Variables: { STAGE: !Ref Stage } } } }
Resources:
  Q: { Type: AWS::SQS::Queue, Properties: { FifoQueue: true, X: !If [HasTopic, 1, !Ref AWS::NoValue] } }
  F:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: target/lambda/f-one/
      Environment: { Variables: { QUEUE: !Ref Q, PREFIX: !Sub "a/${Stage}/", N: 5 } }
      Events:
        Http: { Type: HttpApi, Properties: { Method: post, Path: /x } }
        Work: { Type: SQS, Properties: { Queue: !GetAtt Q.Arn, BatchSize: 3, FunctionResponseTypes: [ReportBatchItemFailures] } }
        Tick: { Type: ScheduleV2, Properties: { ScheduleExpression: rate(1 minute) } }
  G: { Type: AWS::Serverless::Function, Properties: { FunctionName: !Sub "${AWS::StackName}-g-two", CodeUri: target/lambda/f-one } }
"#;

    #[test]
    fn functions_inherit_globals_and_know_which_variables_name_resources() {
        let template = Template::parse(TEXT, "http://aws").unwrap();
        let function = template.functions().unwrap().remove(0);
        assert_eq!((function.name.as_str(), function.timeout_s), ("f-one", 7));
        let variable = |name: &str| function.variables[name].clone();
        assert_eq!(variable("QUEUE"), Variable { value: "http://aws/000000000000/Q.fifo".into(), is_resource: true });
        assert_eq!(variable("PREFIX"), Variable { value: "a/dev/".into(), is_resource: false });
        assert_eq!(variable("N").value, "5");
        assert_eq!(variable("STAGE").value, "dev");
    }

    #[test]
    fn two_functions_may_run_one_binary() {
        let template = Template::parse(TEXT, "").unwrap();
        let names: Vec<_> =
            template.functions().unwrap().into_iter().map(|function| (function.name, function.binary)).collect();
        assert_eq!(names, [("f-one", "f-one"), ("g-two", "f-one")].map(|(name, of)| (name.into(), of.into())));
        assert_eq!(template.binaries().unwrap(), ["f-one"]);
    }

    #[test]
    fn events_become_routes_mappings_and_schedules() {
        let template = Template::parse(TEXT, "http://aws").unwrap();
        assert_eq!(template.routes().unwrap()[0].method, "POST");
        let mapping = template.mappings().unwrap().remove(0);
        assert_eq!((mapping.queue.as_str(), mapping.batch_size, mapping.partial), ("Q.fifo", 3, true));
        assert_eq!(template.schedules().unwrap()[0].name, "f-one-Tick");
    }

    #[test]
    fn no_value_vanishes_and_unknown_names_are_refused() {
        let template = Template::parse(TEXT, "http://aws").unwrap();
        assert_eq!(template.resources("AWS::SQS::Queue").unwrap()[0].1["X"], Value::Null);
        let broken = Template::parse("Resources: { A: { Type: T, Properties: { B: !Ref Nope } } }", "").unwrap();
        assert!(format!("{:#}", broken.resources("T").unwrap_err()).contains("nothing is called Nope"));
    }
}
