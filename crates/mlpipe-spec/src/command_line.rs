//! From an entry point's command to what is executed.
//!
//! A command is a template: `{name}` stands for the value of a parameter, `{{` and `}}` for braces, as in MLflow.
//! Values are never read as shell syntax: without shell syntax in the template the command is split into arguments and
//! no shell is used; otherwise values are quoted for `sh`, wherever in the line they stand.

use crate::project::EntryPoint;

/// What to execute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandLine {
    /// Program and arguments, executed without a shell.
    Direct(Vec<String>),
    /// A line for `sh -c`; values in it are quoted.
    Shell(String),
}

impl EntryPoint {
    /// Returns the command with the values of the parameters in it; a name without a value stays empty.
    pub fn command_line(&self, values: &[(String, String)]) -> CommandLine {
        build(&self.command, values)
    }

    /// Returns the batch command with the path of the list of items in it; `None` when the entry point has none.
    pub fn batch_command_line(&self, batch_file: &str) -> Option<CommandLine> {
        let values = [("batch".to_owned(), batch_file.to_owned())];
        self.batch_command.as_ref().map(|command| build(command, &values))
    }
}

/// A piece of a command template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token<'t> {
    Letter(char),
    Value(&'t str),
}

/// The quotes a letter or value stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Quotes {
    #[default]
    None,
    Single,
    Double,
}

/// What a place in a shell command is inside of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Open {
    Quotes(Quotes),
    /// `$(...)` or `(...)`, in which quotes start afresh.
    Command,
    /// `${...}`
    Braces,
}

/// As much of the grammar of `sh` as decides whether a quoted value is safe at a place.
#[derive(Debug, Default)]
struct Shell {
    /// Outermost first.
    open: Vec<Open>,
    escaped: bool,
    in_comment: bool,
    in_backticks: bool,
    after_here_document: bool,
    after_dollar_quote: bool,
    previous: Option<char>,
}

impl Shell {
    fn quotes(&self) -> Quotes {
        match self.open.last() {
            Some(Open::Quotes(quotes)) => *quotes,
            _ => Quotes::None,
        }
    }

    fn read(&mut self, letter: char) {
        let previous = self.previous.replace(letter);
        let starts_word = previous.is_none_or(|c| c.is_whitespace() || ";&|()".contains(c));
        let after_dollar = previous == Some('$');
        if self.in_comment {
            self.in_comment = letter != '\n';
            return;
        }
        if std::mem::take(&mut self.escaped) {
            return;
        }
        match (self.quotes(), letter) {
            (Quotes::Single, '\'') | (Quotes::Double, '"') => _ = self.open.pop(),
            (Quotes::Single, _) => {}
            (_, '\\') => self.escaped = true,
            (_, '`') => self.in_backticks = !self.in_backticks,
            (_, '(') if after_dollar => self.open.push(Open::Command),
            (_, '{') if after_dollar => self.open.push(Open::Braces),
            (Quotes::Double, _) => {}
            (Quotes::None, '"') => self.open.push(Open::Quotes(Quotes::Double)),
            // In "${name:-'}" the quote is a letter.
            (Quotes::None, '\'') if self.open.ends_with(&[Open::Quotes(Quotes::Double), Open::Braces]) => {}
            (Quotes::None, '\'') => {
                self.after_dollar_quote |= after_dollar;
                self.open.push(Open::Quotes(Quotes::Single));
            }
            (Quotes::None, '(') => self.open.push(Open::Command),
            (Quotes::None, ')') if self.open.last() == Some(&Open::Command) => _ = self.open.pop(),
            (Quotes::None, '}') if self.open.last() == Some(&Open::Braces) => _ = self.open.pop(),
            (Quotes::None, '#') => self.in_comment = starts_word,
            (Quotes::None, '<') => self.after_here_document |= previous == Some('<'),
            (Quotes::None, _) => {}
        }
    }

    /// Returns why a value cannot stand here, where quotes would not keep it from being read as shell syntax.
    fn unsafe_here(&self) -> Option<&'static str> {
        let places = [
            (self.in_comment, "in a comment"),
            (self.escaped, "after a backslash"),
            (self.in_backticks, "between backticks; use $(...)"),
            (self.after_here_document, "after `<<`"),
            (self.after_dollar_quote, "after `$'`"),
            (self.open.contains(&Open::Braces), "in `${...}`"),
        ];
        places.into_iter().find(|(is_here, _)| *is_here).map(|(_, place)| place)
    }
}

/// Words that only a shell understands, at the start of a command.
const SHELL_WORDS: [&str; 30] = [
    "!", ".", ":", "alias", "case", "cd", "command", "eval", "exec", "exit", "export", "for", "function", "if",
    "local", "read", "readonly", "return", "set", "shift", "source", "time", "times", "trap", "ulimit", "umask",
    "unset", "until", "wait", "while",
];

/// Returns the names in a command's `{name}` places in order, or why the command cannot be used.
pub(crate) fn placeholders(command: &str) -> Result<Vec<&str>, String> {
    let mut names = Vec::new();
    let mut shell = Shell::default();
    let script = runs_a_script(command);
    // The `)` of a `case` pattern has no `(`, so where `$(...)` ends could not be told.
    let unclear = command.contains("esac") && command.contains("$(");
    for token in tokens(command)? {
        match token {
            Token::Letter(letter) => shell.read(letter),
            Token::Value(name) => {
                let in_script = (script && shell.quotes() != Quotes::None).then_some("in a script for another shell");
                let in_case = unclear.then_some("in a command with both `case` and `$(`");
                if let Some(place) = shell.unsafe_here().or(in_script).or(in_case) {
                    return Err(format!("the value of `{{{name}}}` cannot be quoted {place}"));
                }
                shell.previous = Some('_');
                names.push(name);
            }
        }
    }
    if shell.open.iter().any(|open| matches!(open, Open::Quotes(_))) {
        Err("a quoted text has no end".to_owned())
    } else {
        Ok(names)
    }
}

/// Returns whether the command hands a quoted script to a shell of its own, as `bash -c "..."` does.
fn runs_a_script(command: &str) -> bool {
    let words: Vec<&str> = command.split_whitespace().collect();
    let is_shell =
        |word: &str| matches!(word.rsplit('/').next(), Some("sh" | "bash" | "dash" | "zsh" | "ksh")) || word == "eval";
    words
        .windows(2)
        .any(|pair| is_shell(pair[0]) && (pair[0] == "eval" || pair[1].starts_with('-') && pair[1].contains('c')))
}

fn tokens(command: &str) -> Result<Vec<Token<'_>>, String> {
    let mut tokens = Vec::new();
    let mut rest = command.trim();
    while let Some(letter) = rest.chars().next() {
        if rest.starts_with("{{") || rest.starts_with("}}") {
            tokens.push(Token::Letter(letter));
            rest = &rest[2..];
        } else if letter == '{' {
            let end = rest.find('}').ok_or("`{` without `}`; write `{{` for a brace")?;
            tokens.push(Token::Value(&rest[1..end]));
            rest = &rest[end + 1..];
        } else if letter == '}' {
            return Err("`}` without `{`; write `}}` for a brace".to_owned());
        } else {
            tokens.push(Token::Letter(letter));
            rest = &rest[letter.len_utf8()..];
        }
    }
    Ok(tokens)
}

fn build(command: &str, values: &[(String, String)]) -> CommandLine {
    // A template that could not be read was refused when the project was.
    let tokens = tokens(command).unwrap_or_default();
    let value = |name: &str| values.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value.as_str());
    match split(&tokens, value) {
        Some(words) => CommandLine::Direct(words),
        None => CommandLine::Shell(shell_line(&tokens, value)),
    }
}

/// Returns the arguments of a command without shell syntax, `None` for one with.
fn split<'v>(tokens: &[Token<'_>], value: impl Fn(&str) -> &'v str) -> Option<Vec<String>> {
    let mut words: Vec<String> = Vec::new();
    let mut word: Option<String> = None;
    let mut quotes = Quotes::None;
    for token in tokens {
        let letter = match token {
            Token::Value(name) => {
                word.get_or_insert_default().push_str(value(name));
                continue;
            }
            Token::Letter(letter) => *letter,
        };
        match (quotes, letter) {
            (Quotes::None, ' ' | '\t') => words.extend(word.take()),
            (Quotes::None, '\'') => quotes = Quotes::Single,
            (Quotes::None, '"') => quotes = Quotes::Double,
            (Quotes::Single, '\'') | (Quotes::Double, '"') => quotes = Quotes::None,
            (Quotes::Double, '$' | '`' | '\\') => return None,
            (Quotes::None, letter) if "|&;<>()$`\\*?[]#~!\n\r{}".contains(letter) => return None,
            // NAME=value before a command.
            (Quotes::None, '=') if words.is_empty() => return None,
            (_, letter) => word.get_or_insert_default().push(letter),
        }
        if quotes != Quotes::None {
            word.get_or_insert_default();
        }
    }
    words.extend(word);
    let program = words.first()?;
    (quotes == Quotes::None && !SHELL_WORDS.contains(&program.as_str())).then_some(words)
}

/// Returns the line with every value in single quotes, closing and reopening the quotes it stands in.
fn shell_line<'v>(tokens: &[Token<'_>], value: impl Fn(&str) -> &'v str) -> String {
    let mut line = String::new();
    let mut shell = Shell::default();
    for token in tokens {
        match token {
            Token::Value(name) => {
                let around = match shell.quotes() {
                    Quotes::None => "",
                    Quotes::Single => "'",
                    Quotes::Double => "\"",
                };
                line.extend([around, &shell_quoted(value(name)), around]);
                shell.previous = Some('_');
            }
            Token::Letter(letter) => {
                line.push(*letter);
                shell.read(*letter);
            }
        }
    }
    line
}

/// Returns the text as one word for `sh`, as Python's `shlex.quote` writes it.
fn shell_quoted(text: &str) -> String {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"@%+=:,./-_".contains(&b);
    if !text.is_empty() && text.bytes().all(is_plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', "'\"'\"'"))
}

#[cfg(test)]
mod tests {
    use indexmap::IndexMap;

    use super::*;

    fn line(command: &str, value: &str) -> CommandLine {
        let entry = EntryPoint {
            parameters: IndexMap::new(),
            command: command.to_owned(),
            batch_command: None,
            outputs: IndexMap::new(),
        };
        entry.command_line(&[("x".to_owned(), value.to_owned())])
    }

    #[test]
    fn commands_without_shell_syntax_are_split_into_arguments() {
        let cases: [(&str, &[&str]); 6] = [
            ("python train.py {x}", &["python", "train.py", "a b"]),
            ("run  'two words' \"and {x}\" ''", &["run", "two words", "and a b", ""]),
            ("run --x={x} '$HOME' --n=1", &["run", "--x=a b", "$HOME", "--n=1"]),
            ("run {y} end", &["run", "", "end"]),
            ("run '{{}}'\n", &["run", "{}"]),
            ("{x}/bin {x}", &["a b/bin", "a b"]),
        ];
        for (command, words) in cases {
            let words = words.iter().map(|word| (*word).to_owned()).collect();
            assert_eq!(line(command, "a b"), CommandLine::Direct(words), "{command}");
        }
    }

    #[test]
    fn commands_with_shell_syntax_go_to_a_shell() {
        let commands = [
            "a | b",
            "a && b",
            "a > b",
            "echo $HOME",
            "echo \"$HOME\"",
            "ls *",
            "A=1 b",
            "exit 3",
            "cd x",
            "a\nb",
            "echo `b`",
            "echo {{a,b}}",
            "a # b",
            "echo \\a",
            "~/a",
            "! a",
        ];
        for command in commands {
            assert!(matches!(line(command, ""), CommandLine::Shell(_)), "{command}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn values_reach_the_program_unchanged_through_a_shell() {
        let templates = [
            "printf %s {x} | cat",
            "printf %s \"{x}\" | cat",
            "printf %s '''{x}' | cat",
            "V=1 printf %s {x}",
            "printf %s \"\\\"{x}\" | tail -c +2",
            "V=$(printf '%s.' {x}); printf %s \"${{V%.}}\"",
            "V=\"$(printf '%s.' \"{x}\")\"; printf %s \"${{V%.}}\"",
            "(printf %s {x})",
            "echo \"${{V:-'}}\" > /dev/null; printf %s {x}",
            "# don't\nprintf %s {x}",
        ];
        let values =
            ["plain", "a b", "it's", "$(echo no)", "`echo no`", "a\"b", "back\\slash", "*", "; echo no", "x\ny", "#"];
        for template in templates {
            assert_eq!(placeholders(template), Ok(vec!["x"]), "{template}");
            for value in values {
                let CommandLine::Shell(line) = line(template, value) else { panic!("{template} needs a shell") };
                let output = std::process::Command::new("sh").args(["-c", &line]).output().expect("sh runs");
                assert_eq!(String::from_utf8_lossy(&output.stdout), value, "{line}");
            }
        }
    }

    #[test]
    fn places_where_quotes_do_not_protect_are_refused() {
        let commands = [
            "echo \"${{y:-{x}}}\"",
            "echo \"`cat {x}`\"",
            "echo $(case a in a) echo b;; esac) {x}",
            "echo `cat {x}`",
            "a # {x}",
            "cat <<END\n{x}\nEND",
            "echo $'it\\'s {x}'",
            "echo \\{x}",
            "bash -c \"echo {x}\"",
            "/bin/sh -ec 'echo {x}'",
            "eval \"echo {x}\"",
        ];
        for command in commands {
            let refused = placeholders(command).expect_err(command);
            assert!(refused.contains("cannot be quoted"), "{command}: {refused}");
        }
        for command in ["echo {x", "echo x}", "echo \"{x}", "echo '"] {
            assert!(placeholders(command).is_err(), "{command}");
        }
        assert_eq!(placeholders("bash -c 'echo \"$1\"' bash {x}"), Ok(vec!["x"]));
    }
}
