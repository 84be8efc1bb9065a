//! What comparing two files came to: the first difference, how many there are, and how far numbers are apart.

use mlpipe_spec::Tolerance;
use serde::Serialize;

/// Longest value that is told.
const LONGEST_SHOWN: usize = 120;

/// One place in which an output differs from the original.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// File below the output; none when the output is a file.
    pub file: Option<String>,
    /// Place in the file: a path in JSON, an index of an array, a line, an attribute.
    pub at: String,
    /// The value of the original; none when it has none there.
    pub original: Option<String>,
    /// The value of the rerun.
    pub rerun: Option<String>,
}

/// What comparing came to. Places may be added one by one.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Compared {
    /// The first difference that counts.
    pub first: Option<Difference>,
    /// How many there are.
    pub differences: u64,
    /// Largest absolute difference of two numbers, within the tolerance or not.
    pub max_absolute: f64,
    /// The same relative to the original.
    pub max_relative: f64,
}

impl Difference {
    /// A difference without values.
    pub fn at(at: impl Into<String>) -> Self {
        Self { at: at.into(), ..Self::default() }
    }

    /// A difference with both values; long ones are cut.
    pub fn values(at: impl Into<String>, original: impl ToString, rerun: impl ToString) -> Self {
        let (original, rerun) = (short(&original.to_string()), short(&rerun.to_string()));
        Self { original: Some(original), rerun: Some(rerun), ..Self::at(at) }
    }
}

impl std::fmt::Display for Difference {
    /// `volume.npy: [3, 0, 7]: 1.5 -> 1.25`
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{file}: ")?;
        }
        match (&self.original, &self.rerun) {
            (Some(original), Some(rerun)) if original == rerun => write!(f, "{}: {original}", self.at),
            (Some(original), Some(rerun)) => write!(f, "{}: {original} -> {rerun}", self.at),
            (Some(original), None) => write!(f, "{}: only in the original ({original})", self.at),
            (None, Some(rerun)) => write!(f, "{}: only in the rerun ({rerun})", self.at),
            (None, None) => f.write_str(&self.at),
        }
    }
}

impl Compared {
    /// Adds a difference.
    pub fn differ(&mut self, difference: Difference) {
        self.differences += 1;
        self.first.get_or_insert(difference);
    }

    /// Adds what comparing the file at `path` came to.
    pub(crate) fn add(&mut self, compared: Self, path: &str) {
        if let Some(first) = compared.first
            && self.first.is_none()
        {
            self.first = Some(Difference { file: (!path.is_empty()).then(|| path.to_owned()), ..first });
        }
        self.differences += compared.differences;
        self.max_absolute = self.max_absolute.max(compared.max_absolute);
        self.max_relative = self.max_relative.max(compared.max_relative);
    }

    /// Compares two numbers; two NaN are equal, an infinity equals only itself.
    pub(crate) fn numbers(&mut self, tolerance: Tolerance, original: Number, rerun: Number, at: impl Fn() -> String) {
        let (reference, distance) = match (original, rerun) {
            (Number::Whole(a), Number::Whole(b)) => (a as f64, a.abs_diff(b) as f64),
            (a, b) => (a.as_f64(), (a.as_f64() - b.as_f64()).abs()),
        };
        // Equal infinities have no distance.
        let same = original.as_f64() == rerun.as_f64() && (distance == 0.0 || distance.is_nan());
        if same || (original.as_f64().is_nan() && rerun.as_f64().is_nan()) {
            return;
        }
        let finite = reference.is_finite() && rerun.as_f64().is_finite();
        let distance = if finite { distance } else { f64::INFINITY };
        self.max_absolute = self.max_absolute.max(distance);
        self.max_relative =
            self.max_relative.max(if reference == 0.0 || !finite { f64::INFINITY } else { distance / reference.abs() });
        if !finite || distance > tolerance.atol + tolerance.rtol * reference.abs() {
            self.differ(Difference::values(at(), original, rerun));
        }
    }
}

/// A number as it was written: whole numbers are compared without rounding.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Number {
    Whole(i128),
    Real(f64),
}

impl Number {
    #[expect(clippy::cast_precision_loss, reason = "only the distance of two whole numbers must be exact")]
    fn as_f64(self) -> f64 {
        match self {
            Self::Whole(number) => number as f64,
            Self::Real(number) => number,
        }
    }
}

impl std::fmt::Display for Number {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Whole(number) => write!(f, "{number}"),
            Self::Real(number) => write!(f, "{number}"),
        }
    }
}

fn short(value: &str) -> String {
    if value.chars().count() <= LONGEST_SHOWN {
        return value.to_owned();
    }
    value.chars().take(LONGEST_SHOWN).chain("...".chars()).collect()
}
