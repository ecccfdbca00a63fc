//! Tables and commands of the documents.

/// Returns the cells of the first table in `text` below the heading `heading`, without its head.
#[track_caller]
pub(crate) fn table(text: &str, heading: &str) -> Vec<Vec<String>> {
    let rows = rows(section(text, heading));
    assert!(!rows.is_empty(), "{heading} must have a table");
    rows
}

/// Returns the cells of the table in `text` whose first column is headed `head`, without its head.
#[track_caller]
pub(crate) fn table_of(text: &str, head: &str) -> Vec<Vec<String>> {
    let start = text.find(&format!("\n| {head} |"));
    let start = start.unwrap_or_else(|| panic!("there must be a table of {head}"));
    rows(&text[start..])
}

fn rows(text: &str) -> Vec<Vec<String>> {
    text.lines()
        .skip_while(|line| !line.starts_with('|'))
        .take_while(|line| line.starts_with('|'))
        .skip(2)
        .map(|row| {
            row.trim_matches('|')
                .split('|')
                .map(|cell| cell.trim().to_owned())
                .collect()
        })
        .collect()
}

/// Returns what stands in `text` below the heading `heading`, up to the next one of its level.
#[track_caller]
pub(crate) fn section<'a>(text: &'a str, heading: &str) -> &'a str {
    let (_, below) = text
        .split_once(&format!("\n{heading}\n"))
        .unwrap_or_else(|| panic!("there must be a heading {heading:?}"));
    let (marks, _) = heading.split_once(' ').unwrap();
    let end = below.find(&format!("\n{marks} "));
    &below[..end.unwrap_or(below.len())]
}

/// Returns the words in back ticks of `cell`.
pub(crate) fn code(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

/// Returns the bodies of the blocks that `text` marks as shell, with their first lines' numbers.
pub(crate) fn shell_blocks(text: &str) -> Vec<(usize, String)> {
    fenced(text, "sh")
}

/// Returns the bodies of the blocks that `text` marks as `language`.
pub(crate) fn blocks(text: &str, language: &str) -> Vec<String> {
    let blocks = fenced(text, language).into_iter();
    blocks.map(|(_, body)| body).collect()
}

fn fenced(text: &str, language: &str) -> Vec<(usize, String)> {
    let fence = format!("```{language}");
    let mut blocks = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (n, line) in text.lines().enumerate() {
        match &mut open {
            Some(_) if line == "```" => blocks.extend(open.take()),
            Some((_, body)) => *body += &format!("{line}\n"),
            None if line == fence => open = Some((n + 2, String::new())),
            None => {}
        }
    }
    blocks
}
