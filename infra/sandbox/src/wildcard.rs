//! Wildcards, for SQL's `LIKE` and for paths.

/// Whether `text` as a whole fits `pattern`, in which `many` stands for any text and `one` for any single character.
pub(crate) fn fits(pattern: &str, text: &str, many: char, one: Option<char>) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut at_pattern, mut at_text) = (0, 0);
    // Where to resume when a later character does not fit: let the last `many` swallow one character more.
    let mut resume = None;
    while at_text < text.len() {
        match pattern.get(at_pattern) {
            Some(wanted) if *wanted == many => {
                at_pattern += 1;
                resume = Some((at_pattern, at_text));
            }
            Some(wanted) if *wanted == text[at_text] || Some(*wanted) == one => {
                at_pattern += 1;
                at_text += 1;
            }
            _ => match resume {
                Some((after_many, swallowed)) => {
                    resume = Some((after_many, swallowed + 1));
                    (at_pattern, at_text) = (after_many, swallowed + 1);
                }
                None => return false,
            },
        }
    }
    pattern[at_pattern..].iter().all(|rest| *rest == many)
}

#[cfg(test)]
mod tests {
    use super::fits;

    #[test]
    fn many_and_one() {
        for (pattern, text, expected) in [
            ("", "", true),
            ("%", "", true),
            ("14%", "14 B", true),
            ("%B", "14 B", true),
            ("%4%B%", "14 B", true),
            ("1_ B", "14 B", true),
            ("1_B", "14 B", false),
            ("14", "14 B", false),
            ("%a%b%c", "aXbXbXc", true),
            ("%a%b%c", "aXcXb", false),
        ] {
            assert_eq!(fits(pattern, text, '%', Some('_')), expected, "{pattern} {text}");
        }
        assert!(fits("/alis/*/leaves", "/alis/v1/7/leaves", '*', None));
    }
}
