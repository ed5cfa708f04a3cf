//! The API document as a page: rendered here, without script, and with nothing loaded from elsewhere.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;

const STYLE: &str = include_str!("page.css");

/// The page and the policy that lets a browser load nothing else.
pub(crate) struct Page {
    pub(crate) html: String,
    /// `Content-Security-Policy`.
    pub(crate) policy: String,
}

/// Path, method and content of every operation, by path.
pub(crate) fn operations(document: &Value) -> impl Iterator<Item = (&str, &str, &Value)> {
    let paths = document["paths"].as_object().into_iter().flatten();
    paths.flat_map(|(path, methods)| {
        methods.as_object().into_iter().flatten().map(move |(method, operation)| (&**path, &**method, operation))
    })
}

/// Renders the document.
pub(crate) fn render(document: &Value) -> Page {
    let mut html = String::with_capacity(512 * 1024);
    let title = escaped(text(&document["info"]["title"]));
    // Writing to a string cannot fail.
    let _ = write!(
        html,
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width, initial-scale=1\"><title>{title}</title><style>{STYLE}</style></head><body>\
         <header><h1>{title}</h1><p>Version {}. As <a href=\"/docs.json\">JSON</a> or <a href=\"/docs.yaml\">YAML</a>.\
         </p></header><main>",
        escaped(text(&document["info"]["version"]))
    );
    for tag in document["tags"].as_array().into_iter().flatten() {
        let name = text(&tag["name"]);
        let description = escaped(text(&tag["description"]));
        let _ = write!(html, "<section><h2>{}</h2><p>{description}</p>", escaped(name));
        for (path, method, operation) in operations(document) {
            if text(&operation["tags"][0]) == name {
                render_operation(&mut html, path, method, operation, &document["components"]["schemas"]);
            }
        }
        html.push_str("</section>");
    }
    html.push_str("</main></body></html>\n");
    let digest = STANDARD.encode(Sha256::digest(STYLE.as_bytes()));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    Page { html, policy }
}

fn render_operation(html: &mut String, path: &str, method: &str, operation: &Value, schemas: &Value) {
    let _ = write!(
        html,
        "<details id=\"{}\"><summary><b class=\"{method}\">{}</b> <code>{}</code> {}</summary><p>{}</p>",
        escaped(text(&operation["operationId"])),
        method.to_ascii_uppercase(),
        escaped(path),
        escaped(text(&operation["summary"])),
        escaped(text(&operation["description"]))
    );
    let parameters = operation["parameters"].as_array().map(Vec::as_slice).unwrap_or_default();
    if !parameters.is_empty() {
        html.push_str("<h3>Parameters</h3><ul>");
        for parameter in parameters {
            let required = if parameter["required"] == true { ", required" } else { "" };
            let _ = write!(
                html,
                "<li><code>{}</code> ({}{required}): {} <code>{}</code></li>",
                escaped(text(&parameter["name"])),
                escaped(text(&parameter["in"])),
                escaped(text(&parameter["description"])),
                escaped(&parameter["schema"].to_string())
            );
        }
        html.push_str("</ul>");
    }
    if let Some((media_type, content)) = first(&operation["requestBody"]["content"]) {
        let _ = write!(html, "<h3>Body, {}</h3>", escaped(media_type));
        render_schema(html, &content["schema"], schemas);
    }
    html.push_str("<h3>Responses</h3>");
    for (status, response) in operation["responses"].as_object().into_iter().flatten() {
        let _ = write!(html, "<p><b>{}</b> {}</p>", escaped(status), escaped(text(&response["description"])));
        if status.starts_with('2')
            && let Some((_, content)) = first(&response["content"])
        {
            render_schema(html, &content["schema"], schemas);
        }
    }
    html.push_str("</details>");
}

/// A schema as JSON; one that stands among the shared schemas is written out.
fn render_schema(html: &mut String, schema: &Value, schemas: &Value) {
    let shared = text(&schema["$ref"]).rsplit('/').next().and_then(|name| schemas.get(name));
    let json = serde_json::to_string_pretty(shared.unwrap_or(schema)).unwrap_or_default();
    let _ = write!(html, "<pre>{}</pre>", escaped(&json));
}

fn first(content: &Value) -> Option<(&str, &Value)> {
    content.as_object()?.iter().next().map(|(media_type, content)| (&**media_type, content))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn texts_are_escaped_and_nothing_is_loaded() {
        let operation = json!({"operationId": "getX", "summary": "<script>alert(1)</script>", "tags": ["A"],
            "responses": {"200": {"description": "OK"}}});
        let document = json!({"info": {"title": "T", "version": "1"}, "tags": [{"name": "A", "description": ""}],
            "paths": {"/x": {"get": operation}}, "components": {"schemas": {}}});
        let page = render(&document);
        assert!(page.html.contains("&lt;script&gt;") && !page.html.contains("<script"));
        assert!(!page.html.contains("http:") && !page.html.contains("https:") && !page.html.contains("src="));
        assert!(page.policy.starts_with("default-src 'none'; style-src 'sha256-"));
    }
}
