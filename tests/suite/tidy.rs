//! House rules that a machine can hold.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use switchyard_local::{FunctionSpec, Mapping, Template};
use switchyard_tests::dlqs::{DlqSpec, dlqs};
use switchyard_tests::{root, source_files};

fn template() -> Template {
    Template::read(&root().join("template.yaml"), "http://aws").unwrap()
}

fn of_kind(kind: &str) -> BTreeMap<String, Value> {
    template().resources(kind).unwrap().into_iter().collect()
}

#[test]
fn queue_arithmetic_holds() {
    let queues = of_kind("AWS::SQS::Queue");
    let functions = template().functions().unwrap();
    let dlqs: BTreeSet<_> = queues.keys().filter(|id| id.ends_with("Dlq")).cloned().collect();
    for (id, queue) in queues.iter().filter(|(id, _)| !dlqs.contains(*id)) {
        let redrive = &queue["RedrivePolicy"];
        assert!(redrive["maxReceiveCount"].as_u64().unwrap() >= 5, "{id}: maxReceiveCount >= 5");
        let dlq = redrive["deadLetterTargetArn"].as_str().unwrap().rsplit(':').next().unwrap();
        let dlq = &queues[dlq.trim_end_matches(".fifo")];
        assert_eq!(dlq["MessageRetentionPeriod"], 1_209_600, "{id}: the DLQ keeps 14 days");
        assert_eq!(dlq["FifoQueue"], queue["FifoQueue"], "{id}: queue and DLQ are of one kind");
    }
    for mapping in template().mappings().unwrap() {
        let id = mapping.queue.trim_end_matches(".fifo");
        let function = functions.iter().find(|function| function.name == mapping.function).unwrap();
        let visibility = queues[id]["VisibilityTimeout"].as_u64().unwrap();
        assert!(visibility >= 6 * function.timeout_s, "{id}: visibility >= 6 x timeout of {}", function.name);
        assert!(mapping.partial, "{} reports single records", function.name);
        consumer_settings_fit(function, &mapping, &queues[id]);
    }
    for function in &functions {
        for (name, variable) in function.variables.iter().filter(|(name, _)| name.ends_with("TIMEOUT_MS")) {
            let timeout: u64 = variable.value.parse().unwrap();
            assert!(timeout < function.timeout_s * 1000, "{}: {name} is below the function's timeout", function.name);
        }
    }
}

/// The settings that `BatchSettings::from_env` reads agree with the queue and its event-source mapping.
fn consumer_settings_fit(function: &FunctionSpec, mapping: &Mapping, queue: &Value) {
    let name = &function.name;
    let setting = |key: &str| {
        let variable = function.variables.get(key).unwrap_or_else(|| panic!("{name} sets {key}"));
        variable.value.parse::<u64>().unwrap_or_else(|_| panic!("{name}: {key} is a number"))
    };
    let receives = queue["RedrivePolicy"]["maxReceiveCount"].as_u64().unwrap();
    assert_eq!(setting("QUEUE_MAX_RECEIVES"), receives, "{name}: QUEUE_MAX_RECEIVES is the queue's maxReceiveCount");
    let batch = u64::try_from(mapping.batch_size).unwrap();
    let concurrency = setting("WORKER_CONCURRENCY");
    assert!((1..=batch).contains(&concurrency), "{name}: WORKER_CONCURRENCY is at least 1, at most BatchSize {batch}");
    let base_ms = setting("QUEUE_RETRY_BASE_MS");
    assert!((1..900_000).contains(&base_ms), "{name}: QUEUE_RETRY_BASE_MS is below the longest wait, 15 minutes");
    let documented = std::fs::read_to_string(root().join("docs/operating.md")).unwrap();
    let (id, seconds, at_once) = (mapping.queue.trim_end_matches(".fifo"), base_ms / 1000, mapping.concurrency);
    let row = format!("| {id} | {name} | {receives} | {seconds} s | {at_once} |");
    assert!(documented.contains(&row), "docs/operating.md lists: {row}");
    let main = std::fs::read_to_string(root().join("functions").join(name).join("src/main.rs")).unwrap();
    let read = main.split_once("BatchSettings::from_env(&aws, &env, \"").and_then(|(_, rest)| rest.split_once('"'));
    let (variable, _) = read.unwrap_or_else(|| panic!("{name} reads its queue's settings"));
    assert!(
        function.variables[variable].value.ends_with(&format!("/{}", mapping.queue)),
        "{name}: {variable} is the queue that invokes it, {}",
        mapping.queue
    );
}

#[test]
fn every_queue_has_an_alarm_and_a_runbook() {
    let alarms: Vec<_> = of_kind("AWS::CloudWatch::Alarm").into_values().collect();
    let watches = |queue: &str, metric: &str| {
        alarms.iter().any(|alarm| {
            alarm["MetricName"] == metric
                && alarm["Dimensions"][0]["Value"].as_str().is_some_and(|name| name.trim_end_matches(".fifo") == queue)
        })
    };
    for id in of_kind("AWS::SQS::Queue").keys() {
        if let Some(name) = id.strip_suffix("Dlq") {
            assert!(watches(id, "ApproximateNumberOfMessagesVisible"), "{id} has an alarm");
            let runbook = root().join(format!("docs/runbooks/{}-queue.md", name.to_lowercase()));
            assert!(runbook.is_file(), "{} exists", runbook.display());
        } else {
            assert!(watches(id, "ApproximateAgeOfOldestMessage"), "{id} has an alarm");
        }
    }
}

#[test]
fn every_alarm_names_a_runbook_that_names_it() {
    for (id, alarm) in of_kind("AWS::CloudWatch::Alarm") {
        let text = alarm["AlarmDescription"].as_str().unwrap_or_default();
        let (_, path) = text.split_once("see docs/").unwrap_or_else(|| panic!("{id} names its runbook: {text}"));
        let runbook = root().join("docs").join(path);
        let runbook = std::fs::read_to_string(&runbook).unwrap_or_else(|_| panic!("{id}: docs/{path} exists"));
        assert!(runbook.contains(&format!("**{id}**")), "docs/{path} says what to do about {id}");
    }
}

/// A text or several of them.
fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::Array(values) => values.iter().map(|value| value.as_str().unwrap_or_default().to_owned()).collect(),
        value => vec![value.as_str().unwrap_or_default().to_owned()],
    }
}

#[test]
fn no_role_grants_everything_and_none_scans() {
    for (id, function) in of_kind("AWS::Serverless::Function") {
        let statements = function["Policies"][0]["Statement"].as_array().unwrap_or_else(|| panic!("{id} has a policy"));
        for statement in statements {
            for action in texts(&statement["Action"]) {
                assert!(!action.contains('*') && !action.ends_with(":Scan"), "{id}: {action}");
            }
            for resource in texts(&statement["Resource"]) {
                assert!(!resource.is_empty() && resource != "*", "{id}: {resource}");
            }
        }
    }
}

#[test]
fn tables_keep_their_data_and_logs_end() {
    for (id, table) in of_kind("AWS::DynamoDB::Table") {
        assert_eq!(table["PointInTimeRecoverySpecification"]["PointInTimeRecoveryEnabled"], true, "{id}");
        assert_eq!(table["SSESpecification"]["SSEEnabled"], true, "{id}");
    }
    let text = std::fs::read_to_string(root().join("template.yaml")).unwrap();
    // The tables, and the keys without which what is sealed in them is lost.
    let kept = text.matches("Type: AWS::DynamoDB::Table").count() + text.matches("  DataKeySecret:").count();
    assert_eq!(kept, text.matches("    DeletionPolicy: Retain").count());
    for (id, group) in of_kind("AWS::Logs::LogGroup") {
        assert!(group["RetentionInDays"].as_u64().is_some(), "{id}");
    }
    for (id, function) in of_kind("AWS::Serverless::Function") {
        assert!(function["LoggingConfig"]["LogGroup"].is_string(), "{id} writes to a log group that ends");
    }
}

/// Binaries that several functions run, each with a role of its own.
const SHARED_BINARIES: &[&str] = &["retry-sweeper"];

#[test]
fn one_name_everywhere() {
    let ids: BTreeSet<_> = of_kind("AWS::Serverless::Function").into_keys().collect();
    for function in template().functions().unwrap() {
        let (name, binary) = (&function.name, &function.binary);
        assert!(ids.contains(&logical_id(name)), "{name} is {} in the template", logical_id(name));
        assert!(name == binary || SHARED_BINARIES.contains(&binary.as_str()), "{name} runs the binary {name}");
        let main = root().join("functions").join(binary).join("src/main.rs");
        let text = std::fs::read_to_string(&main).unwrap_or_else(|_| panic!("{} exists", main.display()));
        assert!(text.lines().count() <= 40, "{binary}: main.rs is wiring");
        assert!(!text.lines().any(|line| line.trim_start().starts_with("if ")), "{binary}: main.rs does not branch");
        let samples =
            std::fs::read_dir(root().join("events").join(name)).unwrap_or_else(|_| panic!("events/{name} exists"));
        assert!(samples.count() > 0, "{name} has sample events");
    }
    let folders: BTreeSet<_> = folders(&root().join("functions")).iter().map(|folder| file_name(folder)).collect();
    assert_eq!(folders, template().binaries().unwrap().into_iter().collect(), "every function is in the template");
}

/// `AdtConsumerFunction` for `adt-consumer`.
fn logical_id(name: &str) -> String {
    let words = name.split('-').map(|word| format!("{}{}", word[..1].to_uppercase(), &word[1..]));
    words.chain(["Function".to_owned()]).collect()
}

/// No other workflow's sweep reaches ADT's residents, and so on for every table.
#[test]
fn a_sweep_reaches_its_own_table_only() {
    let functions = of_kind("AWS::Serverless::Function");
    let sweeps: Vec<_> = template().functions().unwrap();
    let sweeps: Vec<_> = sweeps.into_iter().filter(|function| function.binary == "retry-sweeper").collect();
    let workflows: BTreeSet<_> = sweeps.iter().filter_map(|sweep| sweep.workflow.clone()).collect();
    let due: BTreeSet<_> = of_kind("AWS::DynamoDB::Table")
        .into_iter()
        .filter(|(_, table)| table["GlobalSecondaryIndexes"].to_string().contains("\"due\""))
        .map(|(id, _)| id)
        .collect();
    assert_eq!(sweeps.len(), due.len(), "each table with an index `due` has its sweep");
    assert_eq!(workflows.len(), sweeps.len(), "each sweep has a workflow of its own");
    for sweep in &sweeps {
        let workflow = sweep.workflow.as_deref().unwrap();
        assert_eq!(sweep.variables["SWEEP_WORKFLOW"].value, workflow, "{}", sweep.name);
        let own = logical_id(workflow).replace("Function", "Table");
        let policies = functions[&logical_id(&sweep.name)]["Policies"].to_string();
        assert!(policies.contains(&format!("table/{own}/index/due")), "{} queries {own}", sweep.name);
        for other in due.iter().filter(|table| **table != own) {
            assert!(!policies.contains(&format!("table/{other}")), "{} reaches {other}", sweep.name);
        }
        assert!(!policies.contains("secretsmanager"), "{} reads no secret", sweep.name);
    }
}

/// Every dead-letter queue is emptied by its workflow's sweep, with an alarm on what that archives, and operators see all of them,
/// with no more rights than that takes.
#[test]
fn every_dead_letter_queue_is_archived_and_seen_by_operators() {
    let functions = of_kind("AWS::Serverless::Function");
    let alarms: Vec<_> = of_kind("AWS::CloudWatch::Alarm").into_values().collect();
    let statements = |id: &str| functions[id]["Policies"][0]["Statement"].as_array().unwrap().clone();
    let on_queue = |id: &str, queue: &str| -> BTreeSet<String> {
        let on = |resource: &Value| texts(resource).iter().any(|arn| arn.ends_with(&format!(":{queue}")));
        statements(id).iter().filter(|it| on(&it["Resource"])).flat_map(|it| texts(&it["Action"])).collect()
    };
    let ops = template().functions().unwrap().into_iter().find(|function| function.name == "ops-api").unwrap();
    let (seen, tables) = (&ops.variables["DLQS"].value, &ops.variables["DEAD_LETTER_TABLES"].value);
    let dlqs = dlqs().unwrap();
    for DlqSpec { id, name, queue, sweep, workflow } in &dlqs {
        let receive = ["sqs:DeleteMessage", "sqs:ReceiveMessage"].map(str::to_owned);
        assert_eq!(on_queue(&logical_id(sweep), queue), BTreeSet::from(receive), "{sweep} on {id}");
        let watches =
            |alarm: &&Value| alarm["MetricName"] == "parked" && alarm["Dimensions"][0]["Value"] == logical_id(sweep);
        assert!(alarms.iter().any(|alarm| watches(&alarm)), "what {sweep} archives has an alarm");
        let table = logical_id(workflow).replace("Function", "Table");
        assert!(seen.split(',').any(|pair| pair.starts_with(&format!("{name}="))), "operators see {id}");
        assert!(tables.split(',').any(|pair| pair == format!("{name}={workflow}:{table}")), "{id} is kept in {table}");
        let indexes = of_kind("AWS::DynamoDB::Table")[&table]["GlobalSecondaryIndexes"].clone();
        let listed = indexes.as_array().unwrap().iter().find(|index| index["IndexName"] == "listed");
        let projected = texts(&listed.unwrap_or_else(|| panic!("{table} lists"))["Projection"]["NonKeyAttributes"]);
        for attribute in ["queue", "error_code", "is_given_up", "redriven_at"] {
            assert!(projected.iter().any(|other| other == attribute), "{table} lists by {attribute}");
        }
    }
    assert_eq!(seen.split(',').count(), dlqs.len());
    let workflows: BTreeSet<_> =
        dlqs.iter().map(|dlq| logical_id(&dlq.workflow).replace("Function", "Table")).collect();
    for statement in statements("OpsApiFunction") {
        let (actions, resources) = (texts(&statement["Action"]), texts(&statement["Resource"]));
        if !resources.iter().any(|arn| workflows.iter().any(|table| arn.contains(&format!("table/{table}")))) {
            continue;
        }
        let keys = &statement["Condition"]["ForAllValues:StringLike"]["dynamodb:LeadingKeys"];
        let is_index = resources.iter().all(|arn| arn.ends_with("/index/listed"));
        assert_eq!(keys, if is_index { "dead#*" } else { "X#*" }, "ops-api reads dead letters only: {resources:?}");
        let permitted: &[&str] =
            if is_index { &["dynamodb:Query"] } else { &["dynamodb:GetItem", "dynamodb:UpdateItem"] };
        assert_eq!(actions, permitted, "{resources:?}");
    }
}

/// Direct dependencies on our own crates, without those for tests.
fn own_dependencies(manifest: &Path) -> BTreeSet<String> {
    let text = std::fs::read_to_string(manifest).unwrap();
    let section = text.split("[dependencies]").nth(1).unwrap_or_default();
    let section = section.split("\n[").next().unwrap_or_default();
    section
        .lines()
        .filter_map(|line| line.strip_prefix("switchyard-")?.split(['.', ' ']).next().map(str::to_owned))
        .collect()
}

#[test]
fn arrows_run_one_way() {
    let allowed: BTreeMap<&str, &[&str]> = BTreeMap::from([
        ("core", &[][..]),
        ("io", &["core"][..]),
        ("work", &["core", "io"][..]),
        ("identity", &["core", "io"][..]),
        ("api", &["core", "identity", "io", "work"][..]),
        ("lambda", &["core", "io", "work"][..]),
        // A domain sees core, io, work and identity, and never another domain.
        ("adt", &["core", "identity", "io", "work"][..]),
        ("callbacks", &["core", "io", "work"][..]),
        ("orders", &["core", "io", "work"][..]),
        ("signals", &["core", "identity", "io", "notify", "rules", "work"][..]),
        // What signals is made of: pure rules, and the channels of notifications.
        ("rules", &["core"][..]),
        ("notify", &["core", "io"][..]),
    ]);
    for folder in folders(&root().join("shared")) {
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        let permitted =
            allowed.get(name.as_str()).unwrap_or_else(|| panic!("shared/{name} has its place in this test"));
        for dependency in own_dependencies(&folder.join("Cargo.toml")) {
            assert!(permitted.contains(&dependency.as_str()), "shared/{name} may not depend on {dependency}");
        }
    }
    for folder in folders(&root().join("functions")) {
        for dependency in own_dependencies(&folder.join("Cargo.toml")) {
            assert!(
                !["local", "sandbox", "sqs", "tests"].contains(&dependency.as_str()),
                "{} ships no host",
                folder.display()
            );
        }
    }
    for folder in folders(&root().join("infra")) {
        for dependency in own_dependencies(&folder.join("Cargo.toml")) {
            assert!(
                ["core", "local", "sandbox", "sqs"].contains(&dependency.as_str()),
                "{} knows no workflow",
                folder.display()
            );
        }
    }
}

#[test]
fn the_aws_sdk_stays_in_io() {
    let crates = folders(&root().join("shared")).into_iter().chain(folders(&root().join("functions")));
    for folder in crates.filter(|folder| !folder.ends_with("shared/io")) {
        for file in source_files(&folder) {
            let text = std::fs::read_to_string(&file).unwrap();
            assert!(!text.contains("aws_sdk_"), "{} goes through switchyard-io", file.display());
        }
    }
}

/// `Scan` is the operator's exception, in `io::reseal`, which only the command line calls.
#[test]
fn nothing_scans_but_the_commands_for_data_keys() {
    for folder in ["shared", "functions", "cli", "infra/local/src"] {
        for file in source_files(&root().join(folder)) {
            let text = std::fs::read_to_string(&file).unwrap();
            let is = |end: &str| file.ends_with(end);
            assert!(!text.contains(".scan()") || is("io/src/dynamo/query.rs"), "{} scans", file.display());
            assert!(
                !text.contains("scan_page(") || is("io/src/dynamo/query.rs") || is("io/src/reseal.rs"),
                "{}",
                file.display()
            );
            let walks = ["reseal::reseal(", "reseal::check("].iter().any(|call| text.contains(call));
            assert!(!walks || is("cli/src/data_keys.rs"), "{} walks a whole table", file.display());
        }
    }
}

fn folders(of: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(of).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.join("Cargo.toml").is_file()).collect()
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}
