//! The start of a text that somebody else wrote, short enough to be quoted in a message.

// Longer than every sound reference to an image that people write; four of them fit into an Event's note.
const LONGEST: usize = 256;

/// Returns `text` unless it is longer than 256 characters; then its start and an ellipsis.
pub fn excerpt(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_exceeds_the_limit_is_cut() {
        assert_eq!(excerpt(""), "");
        let fits = "é".repeat(LONGEST);
        assert_eq!(excerpt(&fits), fits);
        assert_eq!(excerpt(&format!("{fits}a")), format!("{fits}…"));
    }
}
