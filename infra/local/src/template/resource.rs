//! What the host reads from a template: functions, routes, event-source mappings and schedules.

use super::value::text_of;
use super::{DEFAULT_CONCURRENCY, STACK, Template};
use anyhow::{Result, anyhow};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// One Lambda function.
#[derive(Clone, Debug)]
pub struct FunctionSpec {
    /// Its `FunctionName` without the stack's: `adt-webhook`.
    pub name: String,
    /// Package, binary and folder: the last part of its `CodeUri`. Several functions may run one binary.
    pub binary: String,
    /// Seconds an invocation may take.
    pub timeout_s: u64,
    /// Megabytes; passed to the function, not enforced.
    pub memory_mb: u64,
    /// The most concurrent invocations.
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
    /// The most records of a batch.
    pub batch_size: usize,
    /// Seconds to wait for a batch to fill.
    pub window_s: u64,
    /// The most concurrent batches.
    pub concurrency: usize,
    /// Whether the function may report single records as failed.
    pub partial: bool,
}

/// One schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// `<function>-<event>`, with the template's name of the event.
    pub name: String,
    /// The function's name.
    pub function: String,
    /// `rate(…)` or `cron(…)`.
    pub expression: String,
    /// Its time zone; empty for UTC.
    pub zone: String,
}
impl Template {
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
            // Without a reservation, the maximum concurrency of its queue's mapping.
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
}

fn max_concurrency(event: &Value) -> Option<usize> {
    count(&event["ScalingConfig"]["MaximumConcurrency"])
}

fn count(value: &Value) -> Option<usize> {
    value.as_u64().and_then(|count| usize::try_from(count).ok())
}
