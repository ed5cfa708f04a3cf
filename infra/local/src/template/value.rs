//! Values of a template: YAML to JSON, and texts with `${…}`.

use anyhow::{Result, anyhow};
use serde_json::{Map, Value, json};

/// The names inside `${…}`.
pub(super) fn placeholders(text: &str) -> impl Iterator<Item = &str> {
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
pub(super) fn to_json(yaml: serde_yaml_ng::Value) -> Result<Value> {
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
