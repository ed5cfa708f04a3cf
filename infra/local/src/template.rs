//! `template.yaml`, resolved for one machine.

use anyhow::{Context as _, Result, anyhow, bail};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

pub(crate) use switchyard_sqs::{ACCOUNT, REGION};

/// A SAM template whose intrinsic functions can be resolved against local names.
#[derive(Clone, Debug)]
pub struct Template {
    parameters: Map<String, Value>,
    conditions: Map<String, Value>,
    globals: Value,
    resources: Map<String, Value>,
    /// Where queue URLs point; known once the AWS endpoint listens.
    aws_url: String,
}

/// One Lambda function.
#[derive(Clone, Debug)]
pub struct FunctionSpec {
    /// Its `FunctionName` without the stack's: `adt-webhook`.
    pub name: String,
    /// Package, binary and folder: the last part of its `CodeUri`. Several functions may run one binary.
    pub binary: String,
    /// Seconds an invocation may take.
    pub timeout_s: u64,
    /// Megabytes; told to the function, not enforced.
    pub memory_mb: u64,
    /// Most invocations at a time.
    pub concurrency: usize,
    /// Environment variables; those that name a resource are marked, and no setting may change them.
    pub variables: BTreeMap<String, Variable>,
    /// `Tags.workflow`, for `--only`.
    pub workflow: Option<String>,
}

/// One environment variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    /// Its value.
    pub value: String,
    /// It names a resource of the template.
    pub is_resource: bool,
}

/// One HTTP route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Upper case, or `ANY`.
    pub method: String,
    /// With `{name}` and `{name+}` segments.
    pub path: String,
    /// The function's name.
    pub function: String,
}

/// One SQS event-source mapping.
#[derive(Clone, Debug)]
pub struct Mapping {
    /// Queue name.
    pub queue: String,
    /// The function's name.
    pub function: String,
    /// Most records a batch.
    pub batch_size: usize,
    /// Seconds to wait for a batch to fill.
    pub window_s: u64,
    /// Most batches at a time.
    pub concurrency: usize,
    /// Whether the function may report single records as failed.
    pub partial: bool,
}

/// One schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// `<function>-<event>`, in the template's words.
    pub name: String,
    /// The function's name.
    pub function: String,
    /// `rate(…)` or `cron(…)`.
    pub expression: String,
    /// Its time zone; empty for UTC.
    pub zone: String,
}

/// The stack's name on this machine.
const STACK: &str = "switchyard";

/// Invocations that a function runs at a time on this machine, where the template sets no limit to it or its queue.
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

    /// Reads a template's text.
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

    /// All functions.
    ///
    /// # Errors
    /// As [`Template::resources`].
    pub fn functions(&self) -> Result<Vec<FunctionSpec>> {
        let functions = self.resources("AWS::Serverless::Function")?;
        functions.into_iter().map(|(id, properties)| self.function(&id, &properties)).collect()
    }

    /// The binaries of all functions, each once.
    ///
    /// # Errors
    /// As [`Template::resources`].
    pub fn binaries(&self) -> Result<Vec<String>> {
        let binaries: BTreeSet<_> = self.functions()?.into_iter().map(|function| function.binary).collect();
        Ok(binaries.into_iter().collect())
    }

    fn function(&self, id: &str, properties: &Value) -> Result<FunctionSpec> {
        let globals = self.resolve(&self.globals["Function"])?;
        let setting = |name: &str| properties.get(name).or_else(|| globals.get(name)).cloned().unwrap_or_default();
        let mut variables = BTreeMap::new();
        for (source, raw) in [
            (&globals, &self.globals["Function"]["Environment"]["Variables"]),
            (properties, &self.resources[id]["Properties"]["Environment"]["Variables"]),
        ] {
            for (name, value) in source["Environment"]["Variables"].as_object().into_iter().flatten() {
                let is_resource = self.names_resource(&raw[name]);
                variables.insert(name.clone(), Variable { value: text_of(value), is_resource });
            }
        }
        let code = properties["CodeUri"].as_str().ok_or_else(|| anyhow!("{id} has no CodeUri"))?;
        let binary = code.trim_end_matches('/').rsplit('/').next().unwrap_or(code);
        let deployed = properties["FunctionName"].as_str().unwrap_or(binary);
        let name = deployed.strip_prefix(STACK).and_then(|rest| rest.strip_prefix('-')).unwrap_or(deployed);
        Ok(FunctionSpec {
            name: name.to_owned(),
            binary: binary.to_owned(),
            timeout_s: setting("Timeout").as_u64().unwrap_or(3),
            memory_mb: setting("MemorySize").as_u64().unwrap_or(128),
            // Without a reservation, as many as its queue is allowed to feed.
            concurrency: count(&setting("ReservedConcurrentExecutions"))
                .or_else(|| {
                    let events = properties["Events"].as_object()?.values();
                    events.filter_map(|event| max_concurrency(&event["Properties"])).max()
                })
                .unwrap_or(DEFAULT_CONCURRENCY),
            variables,
            workflow: properties["Tags"]["workflow"].as_str().map(str::to_owned),
        })
    }

    /// The events of one type, with their function's name.
    fn events(&self, kinds: &[&str]) -> Result<Vec<(String, String, String, Value)>> {
        let mut found = Vec::new();
        for (id, properties) in self.resources("AWS::Serverless::Function")? {
            let function = self.function(&id, &properties)?.name;
            for (event, body) in properties["Events"].as_object().into_iter().flatten() {
                if body["Type"].as_str().is_some_and(|kind| kinds.contains(&kind)) {
                    found.push((id.clone(), event.clone(), function.clone(), body["Properties"].clone()));
                }
            }
        }
        Ok(found)
    }

    /// All HTTP routes.
    ///
    /// # Errors
    /// As [`Template::resources`].
    pub fn routes(&self) -> Result<Vec<Route>> {
        let route = |(_, _, function, properties): (String, String, String, Value)| Route {
            method: text_of(&properties["Method"]).to_uppercase(),
            path: text_of(&properties["Path"]),
            function,
        };
        Ok(self.events(&["HttpApi"])?.into_iter().map(route).collect())
    }

    /// All event-source mappings.
    ///
    /// # Errors
    /// A mapping's queue is not one of the template.
    pub fn mappings(&self) -> Result<Vec<Mapping>> {
        let mapping = |(_, _, function, properties): (String, String, String, Value)| {
            let arn = text_of(&properties["Queue"]);
            let queue = arn.rsplit(':').next().filter(|name| !name.is_empty());
            Ok(Mapping {
                queue: queue.ok_or_else(|| anyhow!("{function} maps no queue"))?.to_owned(),
                function,
                batch_size: properties["BatchSize"].as_u64().and_then(|size| usize::try_from(size).ok()).unwrap_or(10),
                window_s: properties["MaximumBatchingWindowInSeconds"].as_u64().unwrap_or(0),
                concurrency: max_concurrency(&properties).unwrap_or(DEFAULT_CONCURRENCY),
                partial: properties["FunctionResponseTypes"]
                    .as_array()
                    .is_some_and(|types| types.iter().any(|kind| kind == "ReportBatchItemFailures")),
            })
        };
        self.events(&["SQS"])?.into_iter().map(mapping).collect()
    }

    /// All schedules.
    ///
    /// # Errors
    /// As [`Template::resources`].
    pub fn schedules(&self) -> Result<Vec<Schedule>> {
        let schedule = |(_, event, function, properties): (String, String, String, Value)| Schedule {
            name: format!("{function}-{event}"),
            expression: text_of(properties.get("ScheduleExpression").unwrap_or(&properties["Schedule"])),
            zone: properties["ScheduleExpressionTimezone"].as_str().unwrap_or_default().to_owned(),
            function,
        };
        Ok(self.events(&["Schedule", "ScheduleV2"])?.into_iter().map(schedule).collect())
    }

    /// The local name of a queue, with `.fifo` where it is one.
    pub fn queue_name(&self, id: &str) -> String {
        let properties = &self.resources[id]["Properties"];
        let suffix = if properties["FifoQueue"] == true { ".fifo" } else { "" };
        format!("{id}{suffix}")
    }

    /// Whether a value refers to a resource of this template.
    fn names_resource(&self, raw: &Value) -> bool {
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

    fn resolve(&self, value: &Value) -> Result<Value> {
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

    /// Names of every bucket.
    ///
    /// # Errors
    /// A bucket's properties cannot be resolved.
    pub fn bucket_names(&self) -> Result<Vec<String>> {
        Ok(self.resources("AWS::S3::Bucket")?.iter().map(|(id, _)| bucket_name(id)).collect())
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

fn max_concurrency(event: &Value) -> Option<usize> {
    count(&event["ScalingConfig"]["MaximumConcurrency"])
}

fn count(value: &Value) -> Option<usize> {
    value.as_u64().and_then(|count| usize::try_from(count).ok())
}

/// The ARN of a local secret.
pub(crate) fn secret_arn(name: &str) -> String {
    format!("arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:{name}")
}

/// The names inside `${…}`.
fn placeholders(text: &str) -> impl Iterator<Item = &str> {
    text.split("${")
        .skip(1)
        .filter_map(|rest| rest.split_once('}').map(|(name, _)| name))
        .filter(|name| !name.starts_with('!'))
}

/// Strings as they are, other scalars as JSON.
pub(crate) fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// YAML to JSON, with `!Tag x` as `{"Fn::Tag": x}`.
fn to_json(yaml: serde_yaml_ng::Value) -> Result<Value> {
    use serde_yaml_ng::Value as Yaml;
    Ok(match yaml {
        Yaml::Tagged(tagged) => {
            let tag = tagged.tag.to_string();
            let name = tag.trim_start_matches('!');
            let argument = to_json(tagged.value)?;
            match (name, argument) {
                ("Ref" | "Condition", argument) => json!({name: argument}),
                ("GetAtt", Value::String(path)) => {
                    let (id, attribute) =
                        path.split_once('.').ok_or_else(|| anyhow!("!GetAtt {path} names no attribute"))?;
                    json!({"Fn::GetAtt": [id, attribute]})
                }
                (name, argument) => json!({format!("Fn::{name}"): argument}),
            }
        }
        Yaml::Mapping(mapping) => {
            let mut members = Map::new();
            for (key, value) in mapping {
                members.insert(text_of(&to_json(key)?), to_json(value)?);
            }
            Value::Object(members)
        }
        Yaml::Sequence(values) => Value::Array(values.into_iter().map(to_json).collect::<Result<_>>()?),
        scalar => serde_json::to_value(scalar)?,
    })
}

/// S3 takes no upper-case letters.
fn bucket_name(id: &str) -> String {
    id.to_lowercase()
}

#[cfg(test)]
mod tests {
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
