//! One way in which a run is disturbed, and its text, which replays it.

use std::fmt;
use std::str::FromStr;

/// What the disturbed run finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Scenario {
    /// No state directory.
    Fresh,
    /// A finished run with another parameter: some steps are reused, the others run.
    Changed,
    /// A finished run with the same parameters: everything is reused.
    Reuse,
}

/// What a call that fails says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    NoSpace,
    InputOutput,
}

/// One disturbance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Point {
    /// The driver is killed when it is about to make its Nth traced call, on whichever thread.
    Kill { scenario: Scenario, call: usize },
    /// The Nth call of this name on each thread of the driver fails; all later ones too when `lasting`.
    Fail { scenario: Scenario, name: String, call: usize, failure: Failure, lasting: bool },
    /// The state directory lies on a file system of 4 MB with some of it in use.
    Full { seed: u64 },
    /// A process is killed or stopped at some moment.
    Moment { seed: u64 },
    /// Two drivers share the state directory; one of them may be killed.
    Pair { seed: u64 },
}

impl Scenario {
    pub(crate) const ALL: [Self; 3] = [Self::Fresh, Self::Changed, Self::Reuse];

    fn word(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Changed => "changed",
            Self::Reuse => "reuse",
        }
    }
}

impl Failure {
    pub(crate) const ALL: [Self; 2] = [Self::NoSpace, Self::InputOutput];

    /// The name of the error number.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::NoSpace => "ENOSPC",
            Self::InputOutput => "EIO",
        }
    }
}

impl Point {
    /// The mode that the point belongs to.
    pub(crate) fn mode(&self) -> &'static str {
        match self {
            Self::Kill { .. } => "kill",
            Self::Fail { .. } => "fail",
            Self::Full { .. } => "full",
            Self::Moment { .. } => "moment",
            Self::Pair { .. } => "pair",
        }
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mode = self.mode();
        match self {
            Self::Kill { scenario, call } => write!(f, "{mode}:{}:{call}", scenario.word()),
            Self::Fail { scenario, name, call, failure, lasting } => {
                let how_long = if *lasting { "lasting" } else { "once" };
                write!(f, "{mode}:{}:{name}:{call}:{}:{how_long}", scenario.word(), failure.word())
            }
            Self::Full { seed } | Self::Moment { seed } | Self::Pair { seed } => write!(f, "{mode}:{seed}"),
        }
    }
}

impl FromStr for Point {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split(':').collect();
        let parsed = match parts[..] {
            ["kill", scenario, call] => {
                find_scenario(scenario).zip(call.parse().ok()).map(|(scenario, call)| Self::Kill { scenario, call })
            }
            ["fail", scenario, name, call, failure, how_long] => {
                let lasting = match how_long {
                    "once" => Some(false),
                    "lasting" => Some(true),
                    _ => None,
                };
                let failure = Failure::ALL.into_iter().find(|known| known.word() == failure);
                find_scenario(scenario).zip(call.parse().ok()).zip(failure).zip(lasting).map(
                    |(((scenario, call), failure), lasting)| Self::Fail {
                        scenario,
                        name: name.into(),
                        call,
                        failure,
                        lasting,
                    },
                )
            }
            ["full", seed] => seed.parse().ok().map(|seed| Self::Full { seed }),
            ["moment", seed] => seed.parse().ok().map(|seed| Self::Moment { seed }),
            ["pair", seed] => seed.parse().ok().map(|seed| Self::Pair { seed }),
            _ => None,
        };
        parsed.ok_or_else(|| {
            format!("`{text}` is no point; expected something like kill:fresh:311, fail:changed:fsync:3:ENOSPC:once, moment:17")
        })
    }
}

fn find_scenario(word: &str) -> Option<Scenario> {
    Scenario::ALL.into_iter().find(|scenario| scenario.word() == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_a_point_gives_the_point() {
        let points = [
            Point::Kill { scenario: Scenario::Changed, call: 311 },
            Point::Fail {
                scenario: Scenario::Fresh,
                name: "fsync".into(),
                call: 3,
                failure: Failure::NoSpace,
                lasting: true,
            },
            Point::Full { seed: 1 },
            Point::Moment { seed: 2 },
            Point::Pair { seed: 3 },
        ];
        for point in points {
            assert_eq!(point.to_string().parse(), Ok(point));
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["", "kill", "kill:cold:1", "kill:fresh:x", "fail:fresh:fsync:1:EPERM:once", "moment:-1"] {
            assert!(text.parse::<Point>().is_err(), "{text}");
        }
    }
}
