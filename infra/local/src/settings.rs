//! Settings by name: the sandbox's, overridden by `.env`, overridden by the environment.

use std::collections::HashMap;
use std::path::Path;

/// Settings by name, from the sandbox, `.env` and the environment.
#[derive(Clone, Debug, Default)]
pub struct Settings(HashMap<String, String>);

impl Settings {
    /// Adds `.env`'s `NAME=value` lines; comments, blank lines and a missing file are fine.
    pub fn with_env_file(mut self, path: &Path) -> Self {
        for line in std::fs::read_to_string(path).unwrap_or_default().lines() {
            let line = line.trim();
            let Some((name, value)) = line.split_once('=').filter(|_| !line.starts_with('#')) else { continue };
            let name = name.trim().trim_start_matches("export ").trim();
            let value = value.trim();
            let quoted = ['"', '\''].iter().find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote));
            self.0.insert(name.to_owned(), quoted.unwrap_or(value).to_owned());
        }
        self
    }

    /// Adds pairs, replacing those of the same name.
    pub fn with(mut self, pairs: impl IntoIterator<Item = (impl Into<String>, impl Into<String>)>) -> Self {
        self.0.extend(pairs.into_iter().map(|(name, value)| (name.into(), value.into())));
        self
    }

    /// These settings, with `base`'s for absent ones.
    pub fn over(self, base: Self) -> Self {
        base.with(self.0)
    }

    /// The value of `name`.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn env_files_take_quotes_comments_and_export() {
        let file = std::env::temp_dir().join(format!("switchyard-env-{}", std::process::id()));
        std::fs::write(&file, "# a comment\nA=1\nexport B = \"two words\"\n\nC='x=y'\nnonsense\n").unwrap();
        let settings = Settings::default().with([("A", "0"), ("D", "kept")]).with_env_file(&file);
        std::fs::remove_file(&file).unwrap();
        assert_eq!(["A", "B", "C", "D"].map(|name| settings.get(name).unwrap()), ["1", "two words", "x=y", "kept"]);
    }
}
