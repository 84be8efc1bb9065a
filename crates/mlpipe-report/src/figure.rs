//! Figures: a slice as PNG with boxes and names drawn over it as SVG.
//!
//! The user unit of the SVG is a millimetre, so pixels that are not square come out in proportion.

use std::fmt::Write;

use mlpipe_dicom::Volume;

use crate::Result;
use crate::html::escape;
use crate::picture::{Region, Window, data_uri};
use crate::report::Placed;

/// Something drawn over a slice.
#[derive(Debug, Clone)]
pub(crate) struct Mark<'a> {
    pub(crate) placed: Placed,
    /// Class of the stylesheet: `body`, `body positive` or `node`.
    pub(crate) class: &'static str,
    /// Name written into the box.
    pub(crate) name: Option<&'a str>,
}

/// Draws part of a slice with marks. `description` is read out to those who do not see the picture.
pub(crate) fn draw(
    volume: &Volume,
    window: Window,
    slice: usize,
    region: Region,
    marks: &[Mark],
    description: &str,
) -> Result<String> {
    let [_, row_mm, column_mm] = volume.geometry.spacing_mm;
    let (left, top) = (region.columns[0] as f64 * column_mm, region.rows[0] as f64 * row_mm);
    let width = (region.columns[1] - region.columns[0]) as f64 * column_mm;
    let height = (region.rows[1] - region.rows[0]) as f64 * row_mm;
    let picture = data_uri(volume, window, slice, region)?;
    let mut svg = format!(
        "<svg role=\"img\" viewBox=\"0 0 {width:.2} {height:.2}\" aria-label=\"{description}\">\n\
         <image href=\"{picture}\" width=\"{width:.2}\" height=\"{height:.2}\" preserveAspectRatio=\"none\"/>\n",
        description = escape(description),
    );
    for mark in marks {
        let Placed { x, y, width, height } = mark.placed;
        let (x, y) = (x * column_mm - left, y * row_mm - top);
        let (width, height) = (width * column_mm, height * row_mm);
        let rectangle = format!("x=\"{x:.2}\" y=\"{y:.2}\" width=\"{width:.2}\" height=\"{height:.2}\"");
        let class = mark.class;
        let _ = writeln!(svg, "<rect class=\"{class} halo\" {rectangle}/><rect class=\"{class}\" {rectangle}/>");
        if let Some(name) = mark.name {
            let (middle_x, middle_y) = (x + width / 2.0, y + height / 2.0);
            let name = escape(name);
            let _ = writeln!(svg, "<text class=\"name\" x=\"{middle_x:.2}\" y=\"{middle_y:.2}\">{name}</text>");
        }
    }
    svg.push_str(&edge_letters(volume, width, height));
    svg.push_str("</svg>\n");
    Ok(svg)
}

/// Letters at the edges that say where they point in the patient: as on a workstation.
fn edge_letters(volume: &Volume, width: f64, height: f64) -> String {
    let inset = 0.026 * width.max(height);
    let size = 0.036 * width.max(height);
    let right = volume.geometry.column_axis;
    let down = volume.geometry.row_axis;
    let letter = |axis: [f64; 3], x: f64, y: f64| {
        format!("<text class=\"edge\" font-size=\"{size:.2}\" x=\"{x:.2}\" y=\"{y:.2}\">{}</text>\n", towards(axis))
    };
    let opposite = |axis: [f64; 3]| axis.map(|component| -component);
    [
        letter(opposite(right), inset, height / 2.0),
        letter(right, width - inset, height / 2.0),
        letter(opposite(down), width / 2.0, inset),
        letter(down, width / 2.0, height - inset),
    ]
    .concat()
}

/// Returns the letter of the direction (LPS) that a vector mostly points to.
pub(crate) fn towards(axis: [f64; 3]) -> char {
    let main = (0..3).max_by(|&a, &b| axis[a].abs().total_cmp(&axis[b].abs())).unwrap_or(0);
    match (main, axis[main] >= 0.0) {
        (0, true) => 'L',
        (0, false) => 'R',
        (1, true) => 'P',
        (1, false) => 'A',
        (_, true) => 'H',
        (_, false) => 'F',
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_name_the_main_direction() {
        let letters: String = [[0.9, 0.1, 0.4], [-1.0, 0.0, 0.0], [0.1, 0.8, -0.1], [0.0, -1.0, 0.0], [0.0, 0.2, 0.9]]
            .into_iter()
            .chain([[0.0, 0.2, -0.9]])
            .map(towards)
            .collect();
        assert_eq!(letters, "LRPAHF");
    }
}
