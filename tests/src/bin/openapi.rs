//! Writes `docs/openapi.json` from the functions' own types.

use switchyard_tests::document;

fn main() -> anyhow::Result<()> {
    let text = document::text().map_err(anyhow::Error::msg)?;
    std::fs::write(document::path(), text)?;
    Ok(())
}
