//! What a handler says of itself by its types: arguments become parameters and bodies, its return type responses.

use axum::extract::State;
use axum::response::IntoResponse;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// One operation of the document, while its handler's types fill it in.
pub struct Operation {
    /// Request schemas: written out in place, since a type may read otherwise than it writes.
    inputs: SchemaGenerator,
    /// Response schemas: shared under `components`.
    pub(crate) outputs: SchemaGenerator,
    pub(crate) parameters: Vec<Value>,
    /// Schemas of the path's braces, in their order.
    pub(crate) path_schemas: Vec<Value>,
    pub(crate) body: Option<Value>,
    pub(crate) responses: BTreeMap<u16, Value>,
    /// Statuses of refusals, and what each means.
    pub(crate) refusals: BTreeMap<u16, String>,
}

impl Operation {
    pub(crate) fn new() -> Self {
        let inputs = SchemaSettings::draft2020_12().with(|settings| {
            settings.inline_subschemas = true;
            settings.meta_schema = None;
        });
        let outputs = SchemaSettings::draft2020_12()
            .with(|settings| {
                settings.definitions_path = "/components/schemas".into();
                settings.meta_schema = None;
            })
            .for_serialize();
        Self {
            inputs: inputs.into_generator(),
            outputs: outputs.into_generator(),
            parameters: Vec::new(),
            path_schemas: Vec::new(),
            body: None,
            responses: BTreeMap::new(),
            refusals: BTreeMap::new(),
        }
    }

    /// The schema of what `T` reads, written out.
    pub fn input<T: JsonSchema>(&mut self) -> Schema {
        self.inputs.subschema_for::<T>()
    }

    /// Adds a parameter `place` (`path`, `query` or `header`).
    pub fn parameter(&mut self, place: &str, name: &str, required: bool, mut schema: Value) {
        let description = schema.as_object_mut().and_then(|schema| schema.remove("description"));
        let mut parameter = json!({"name": name, "in": place, "required": required, "schema": schema});
        if let Some(description) = description {
            parameter["description"] = description;
        }
        self.parameters.push(parameter);
    }

    /// Adds a query parameter for each property of `T`'s schema.
    pub fn query<T: JsonSchema>(&mut self) {
        let schema = self.input::<T>();
        let required: Vec<&str> = schema
            .get("required")
            .and_then(Value::as_array)
            .map_or(Vec::new(), |names| names.iter().filter_map(Value::as_str).collect());
        let properties = schema.get("properties").and_then(Value::as_object).cloned().unwrap_or_default();
        for (name, property) in properties {
            let is_required = required.contains(&name.as_str());
            self.parameter("query", &name, is_required, without_null(property));
        }
    }

    /// Says what body the operation reads.
    pub fn body(&mut self, media_type: &str, required: bool, schema: Schema) {
        self.body = Some(json!({"required": required, "content": {media_type: {"schema": schema}}}));
    }

    /// Adds a JSON response.
    pub fn json<T: JsonSchema>(&mut self, status: u16, description: &str) {
        let schema = self.outputs.subschema_for::<T>();
        let content = json!({"application/json": {"schema": schema}});
        self.responses.insert(status, json!({"description": description, "content": content}));
    }

    /// Adds a response with another body, or with none.
    pub fn response(&mut self, status: u16, description: &str, media_type: Option<&str>) {
        let mut response = json!({"description": description});
        if let Some(media_type) = media_type {
            response["content"] = json!({media_type: {"schema": {}}});
        }
        self.responses.insert(status, response);
    }

    /// Adds a header to every response so far.
    pub fn response_header(&mut self, name: &str, description: &str) {
        for response in self.responses.values_mut() {
            response["headers"][name] = json!({"description": description, "schema": {"type": "string"}});
        }
    }

    /// Adds a refusal; a second meaning of a status is added to the first.
    pub fn refuse(&mut self, status: u16, meaning: &str) {
        let known = self.refusals.entry(status).or_default();
        if !known.is_empty() && !known.contains(meaning) {
            known.push_str("; ");
        }
        if !known.contains(meaning) {
            known.push_str(meaning);
        }
    }

    /// Names of the query parameters so far.
    pub(crate) fn query_names(&self) -> Vec<String> {
        let is_query = |parameter: &&Value| parameter["in"] == "query";
        let name = |parameter: &Value| parameter["name"].as_str().unwrap_or_default().to_owned();
        self.parameters.iter().filter(is_query).map(name).collect()
    }
}

/// A query has no `null`; an optional parameter may be absent.
fn without_null(mut schema: Value) -> Value {
    if let Some(types) = schema.get_mut("type").and_then(Value::as_array_mut) {
        types.retain(|kind| kind != "null");
        if let [only] = types.as_slice() {
            schema["type"] = only.clone();
        }
    }
    if let Some(values) = schema.get_mut("enum").and_then(Value::as_array_mut) {
        values.retain(|value| !value.is_null());
    }
    let variants = schema.get_mut("anyOf").and_then(Value::as_array_mut).map(std::mem::take);
    if let Some(mut variants) = variants {
        variants.retain(|variant| variant["type"] != "null");
        if let [Value::Object(only)] = variants.as_slice() {
            let mut whole: Map<String, Value> = schema.as_object().cloned().unwrap_or_default();
            whole.remove("anyOf");
            for (name, value) in only {
                whole.entry(name).or_insert_with(|| value.clone());
            }
            return Value::Object(whole);
        }
        schema["anyOf"] = variants.into();
    }
    schema
}

/// A handler's argument.
pub trait Argument {
    /// Says what the argument reads of the request; nothing by default.
    fn describe(_operation: &mut Operation) {}
}

impl<S> Argument for State<S> {}

impl<T> Argument for axum::Extension<T> {}

impl Argument for http::HeaderMap {}

/// What a handler returns.
pub trait Reply: IntoResponse {
    /// Says which responses there are.
    fn describe(operation: &mut Operation);
}

impl<R: Reply, E: IntoResponse> Reply for Result<R, E> {
    fn describe(operation: &mut Operation) {
        R::describe(operation);
    }
}

/// A handler that can say what it reads and returns; `M` is axum's own marker of its arguments.
pub trait Describe<M> {
    /// Says what the handler reads and returns.
    fn describe(operation: &mut Operation);
}

impl<F, Fut, R> Describe<((),)> for F
where
    F: FnOnce() -> Fut,
    Fut: Future<Output = R>,
    R: Reply,
{
    fn describe(operation: &mut Operation) {
        R::describe(operation);
    }
}

macro_rules! describe_handler {
    ($($argument:ident),+) => {
        impl<F, Fut, R, M, $($argument),+> Describe<(M, $($argument,)+)> for F
        where
            F: FnOnce($($argument),+) -> Fut,
            Fut: Future<Output = R>,
            R: Reply,
            $($argument: Argument),+
        {
            fn describe(operation: &mut Operation) {
                $($argument::describe(operation);)+
                R::describe(operation);
            }
        }
    };
}

describe_handler!(A);
describe_handler!(A, B);
describe_handler!(A, B, C);
describe_handler!(A, B, C, D);
describe_handler!(A, B, C, D, E);
describe_handler!(A, B, C, D, E, G);
describe_handler!(A, B, C, D, E, G, H);
