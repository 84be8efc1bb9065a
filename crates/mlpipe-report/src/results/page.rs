//! Pages of a PDF: lines, tables and pictures set from top to bottom on A4, with a notice above and below. What they say
//! is decided elsewhere. Nothing of the machine or the clock goes into the file.

use std::io::Write;

use flate2::Compression;
use flate2::write::ZlibEncoder;
use pdf_writer::{Content, Filter, Finish, Name, Pdf, Rect, Ref, Str, TextStr};

use super::canvas::Canvas;
use super::identity::ascii;
use crate::wording::NOTICE;

/// A4, in points of 1/72 inch.
const PAGE: [f32; 2] = [595.0, 842.0];
const MARGIN: f32 = 48.0;
const BOTTOM: f32 = 56.0;
pub(super) const WIDTH: f32 = PAGE[0] - 2.0 * MARGIN;
const CELL_GAP: f32 = 6.0;
const PLAIN: Name = Name(b"F1");
const BOLD: Name = Name(b"F2");

/// Widths of Helvetica from space to tilde, thousandths of its size (Adobe Font Metrics).
const ADVANCES: [u16; 95] = [
    278, 278, 355, 556, 556, 889, 667, 191, 333, 333, 389, 584, 278, 333, 278, 278, 556, 556, 556, 556, 556, 556, 556,
    556, 556, 556, 278, 278, 584, 584, 584, 556, 1015, 667, 667, 722, 722, 667, 611, 778, 722, 278, 500, 667, 556, 833,
    722, 778, 667, 778, 722, 667, 611, 722, 667, 944, 667, 667, 611, 278, 278, 278, 469, 556, 333, 556, 556, 500, 556,
    556, 278, 556, 556, 222, 222, 500, 222, 833, 556, 556, 556, 556, 333, 500, 278, 556, 500, 722, 500, 500, 500, 334,
    260, 334, 584,
];
/// Bold letters are wider by about this much.
const BOLD_FACTOR: f32 = 1.07;

/// How a line is set.
#[derive(Debug, Clone, Copy)]
pub(super) struct Style {
    pub(super) size: f32,
    pub(super) bold: bool,
    pub(super) rgb: [f32; 3],
}

pub(super) const TITLE: Style = Style { size: 17.0, bold: true, rgb: [0.08, 0.12, 0.18] };
pub(super) const HEADING: Style = Style { size: 12.0, bold: true, rgb: [0.08, 0.12, 0.18] };
pub(super) const BODY: Style = Style { size: 9.5, bold: false, rgb: [0.1, 0.1, 0.1] };
pub(super) const STRONG: Style = Style { size: 11.0, bold: true, rgb: [0.1, 0.1, 0.1] };
pub(super) const ALERT: Style = Style { size: 11.0, bold: true, rgb: [0.70, 0.19, 0.11] };
pub(super) const SOFT: Style = Style { size: 8.5, bold: false, rgb: [0.35, 0.35, 0.35] };
const CELL: Style = Style { size: 8.5, bold: false, rgb: [0.1, 0.1, 0.1] };
const HEAD: Style = Style { size: 8.5, bold: true, rgb: [0.25, 0.25, 0.25] };
const WARNING: Style = Style { size: 8.5, bold: true, rgb: [0.70, 0.19, 0.11] };

/// Pages that are being set.
pub(super) struct Pages<'a> {
    done: Vec<Page<'a>>,
    page: Page<'a>,
    /// Distance of the next line's top from the lower edge.
    y: f32,
}

struct Page<'a> {
    content: Content,
    pictures: Vec<&'a Canvas>,
}

impl Page<'_> {
    fn new() -> Self {
        let mut page = Page { content: Content::new(), pictures: Vec::new() };
        page.show(&NOTICE.to_uppercase(), WARNING, MARGIN, PAGE[1] - 34.0);
        page
    }

    fn show(&mut self, text: &str, style: Style, x: f32, baseline: f32) {
        let [red, green, blue] = style.rgb;
        self.content.begin_text();
        self.content.set_font(if style.bold { BOLD } else { PLAIN }, style.size);
        self.content.set_fill_rgb(red, green, blue);
        self.content.next_line(x, baseline);
        self.content.show(Str(ascii(text).as_bytes()));
        self.content.end_text();
    }
}

impl<'a> Pages<'a> {
    pub(super) fn new() -> Self {
        Pages { done: Vec::new(), page: Page::new(), y: PAGE[1] - 52.0 }
    }

    /// Leaves room.
    pub(super) fn space(&mut self, height: f32) {
        self.y -= height;
    }

    /// Begins a page when less than `height` is left of this one.
    pub(super) fn need(&mut self, height: f32) {
        if self.y - height < BOTTOM {
            self.done.push(std::mem::replace(&mut self.page, Page::new()));
            self.y = PAGE[1] - 52.0;
        }
    }

    /// Sets a paragraph.
    pub(super) fn text(&mut self, text: &str, style: Style) {
        for line in wrapped(text, style, WIDTH) {
            self.need(1.3 * style.size);
            self.page.show(&line, style, MARGIN, self.y - style.size);
            self.y -= 1.3 * style.size;
        }
    }

    /// Sets a heading, which stays with what follows it.
    pub(super) fn heading(&mut self, text: &str) {
        self.space(12.0);
        self.need(70.0);
        self.text(text, HEADING);
        self.space(3.0);
    }

    /// Sets a table; `shares` of the width go to its columns. The head is repeated on every page.
    pub(super) fn table(&mut self, heads: &[&str], shares: &[f32], rows: &[Vec<String>]) {
        let head: Vec<String> = heads.iter().map(|head| (*head).to_owned()).collect();
        self.row(&head, shares, HEAD);
        for row in rows {
            let before = self.done.len();
            self.need(self.row_height(row, shares, CELL));
            if self.done.len() > before {
                self.row(&head, shares, HEAD);
            }
            self.row(row, shares, CELL);
        }
    }

    fn row_height(&self, cells: &[String], shares: &[f32], style: Style) -> f32 {
        let lines = cells.iter().zip(shares).map(|(cell, share)| wrapped(cell, style, share * WIDTH - CELL_GAP).len());
        1.25 * style.size * lines.max().unwrap_or(1) as f32 + 4.0
    }

    fn row(&mut self, cells: &[String], shares: &[f32], style: Style) {
        let height = self.row_height(cells, shares, style);
        self.need(height);
        let mut x = MARGIN;
        for (cell, share) in cells.iter().zip(shares) {
            for (index, line) in wrapped(cell, style, share * WIDTH - CELL_GAP).iter().enumerate() {
                let baseline = self.y - style.size - 1.25 * style.size * index as f32 - 1.0;
                self.page.show(line, style, x, baseline);
            }
            x += share * WIDTH;
        }
        self.y -= height;
        let content = &mut self.page.content;
        content.set_stroke_rgb(0.82, 0.84, 0.87).set_line_width(0.5);
        content.move_to(MARGIN, self.y).line_to(MARGIN + WIDTH, self.y).stroke();
    }

    /// Sets a picture, at most as wide as the text and `height` high.
    pub(super) fn picture(&mut self, canvas: &'a Canvas, height: f32) {
        let (columns, rows) = (canvas.width as f32, canvas.height as f32);
        let scale = (WIDTH / columns).min(height / rows);
        let (width, height) = (columns * scale, rows * scale);
        self.need(height + 4.0);
        self.y -= height;
        let name = format!("P{}", self.page.pictures.len());
        self.page.pictures.push(canvas);
        let content = &mut self.page.content;
        content.save_state().transform([width, 0.0, 0.0, height, MARGIN, self.y]);
        content.x_object(Name(name.as_bytes())).restore_state();
        self.y -= 4.0;
    }

    /// Returns the file. `foot` stands below every page, before its number.
    pub(super) fn finish(mut self, title: &str, foot: &str) -> std::io::Result<Vec<u8>> {
        self.done.push(self.page);
        let mut writer = Writer { pdf: Pdf::new(), last: 5 };
        let [catalog, tree, plain, bold, info] = [1, 2, 3, 4, 5].map(Ref::new);
        let count = self.done.len();
        let mut kids = Vec::new();
        for (index, mut page) in self.done.into_iter().enumerate() {
            let text = format!("{foot}   page {} of {count}", index + 1);
            page.show(&text, SOFT, MARGIN, 30.0);
            kids.push(writer.page(page, tree, [plain, bold])?);
        }
        let mut pdf = writer.pdf;
        pdf.catalog(catalog).pages(tree).lang(TextStr("en"));
        pdf.pages(tree).count(count as i32).kids(kids);
        for (font, name) in [(plain, Name(b"Helvetica")), (bold, Name(b"Helvetica-Bold"))] {
            pdf.type1_font(font).base_font(name).encoding_predefined(Name(b"WinAnsiEncoding"));
        }
        pdf.document_info(info).title(TextStr(title)).producer(TextStr("mlpipe"));
        Ok(pdf.finish())
    }
}

struct Writer {
    pdf: Pdf,
    last: i32,
}

impl Writer {
    fn next(&mut self) -> Ref {
        self.last += 1;
        Ref::new(self.last)
    }

    fn page(&mut self, page: Page, tree: Ref, [plain, bold]: [Ref; 2]) -> std::io::Result<Ref> {
        let pictures: Vec<Ref> =
            page.pictures.iter().map(|canvas| self.picture(canvas)).collect::<std::io::Result<_>>()?;
        let (id, stream) = (self.next(), self.next());
        let content = deflated(&page.content.finish())?;
        self.pdf.stream(stream, &content).filter(Filter::FlateDecode);
        let mut written = self.pdf.page(id);
        written.parent(tree).media_box(Rect::new(0.0, 0.0, PAGE[0], PAGE[1])).contents(stream);
        let mut resources = written.resources();
        resources.fonts().pair(PLAIN, plain).pair(BOLD, bold);
        let mut objects = resources.x_objects();
        for (index, picture) in pictures.into_iter().enumerate() {
            objects.pair(Name(format!("P{index}").as_bytes()), picture);
        }
        Ok(id)
    }

    fn picture(&mut self, canvas: &Canvas) -> std::io::Result<Ref> {
        let id = self.next();
        let pixels = deflated(&canvas.rgb)?;
        let mut image = self.pdf.image_xobject(id, &pixels);
        image.filter(Filter::FlateDecode);
        image.width(canvas.width as i32).height(canvas.height as i32);
        image.color_space().device_rgb();
        image.bits_per_component(8);
        image.finish();
        Ok(id)
    }
}

/// Fast rather than small: pictures are most of a file, and most of the time that it takes to write one.
fn deflated(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes)?;
    encoder.finish()
}

/// Breaks text at spaces, and words that are too long anywhere, so that every line fits into `width`.
fn wrapped(text: &str, style: Style, width: f32) -> Vec<String> {
    let factor = if style.bold { BOLD_FACTOR } else { 1.0 } * style.size / 1000.0;
    let advance = |character: char| {
        let index = (character as usize).wrapping_sub(32);
        f32::from(ADVANCES.get(index).copied().unwrap_or(556)) * factor
    };
    let mut lines = vec![String::new()];
    let mut used = 0.0;
    for word in text.split_inclusive(' ') {
        let length: f32 = word.trim_end().chars().map(advance).sum();
        if used > 0.0 && used + length > width {
            lines.push(String::new());
            used = 0.0;
        }
        for character in word.chars() {
            if used + advance(character) > width && character != ' ' {
                lines.push(String::new());
                used = 0.0;
            }
            used += advance(character);
            lines.last_mut().expect("there is always a line").push(character);
        }
    }
    lines.iter().map(|line| line.trim_end().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_at_spaces_and_long_words_anywhere() {
        let style = Style { size: 10.0, bold: false, rgb: [0.0; 3] };
        // A digit is 5.56 wide: nine of them fit into 51.
        assert_eq!(wrapped("12345 12345 12", style, 51.0), ["12345", "12345 12"]);
        assert_eq!(wrapped("123456789012", style, 51.0), ["123456789", "012"]);
        assert_eq!(wrapped("", style, 51.0), [""]);
    }
}
