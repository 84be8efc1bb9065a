//! JPEG of one component: sequential DCT of 8 or 12 bits and lossless (ISO/IEC 10918-1). The inverse DCT is the accurate
//! integer one of the Independent JPEG Group (Loeffler, Ligtenberg and Moschytz 1989), so that lossy images give the
//! values most readers give.

use super::{Failure, FrameHeader, Samples, Segments, frame_header};

/// Order in which coefficients are stored (figure A.6).
const ZIGZAG: [u8; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7, 14, 21,
    28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54,
    47, 55, 62, 63,
];

/// Decodes a stream whose size must be `[rows, columns]`.
pub(super) fn decode(stream: &[u8], size: [usize; 2]) -> Result<Samples, Failure> {
    let broken = |message: String| ("undecodable_pixels", message);
    let mut tables = Tables::default();
    let mut frame = None;
    for segment in (Segments { stream, at: 2 }) {
        let (marker, payload, start) = segment.map_err(broken)?;
        match marker {
            0xC0 | 0xC1 | 0xC3 => frame = Some((marker, frame_header(payload, size).map_err(broken)?)),
            0xC4 => tables.add_huffman(payload).map_err(broken)?,
            0xDB => tables.add_quantisation(payload).map_err(broken)?,
            0xDD => tables.restart_interval = payload.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)),
            0xC2 | 0xC5..=0xC7 | 0xC9..=0xCF => {
                let message = format!("the JPEG process of marker FF{marker:02X} (progressive or arithmetic)");
                return Err(("unsupported_transfer_syntax", format!("{message} is not supported")));
            }
            0xDA => {
                let (marker, header) = frame.ok_or_else(|| broken("the scan comes before its frame header".into()))?;
                let bits = Bits::new(stream.get(start..).unwrap_or_default());
                let decoded = match marker {
                    0xC3 => lossless(bits, &tables, payload, header, size),
                    _ => sequential(bits, &tables, payload, header, size),
                };
                let bits = decoded.map_err(broken)?;
                return Ok(Samples { bits, precision: Some(header.precision.into()), signed: false });
            }
            _ => {}
        }
    }
    Err(broken("the JPEG stream has no scan".into()))
}

#[derive(Default)]
struct Tables {
    quantisation: [Option<Box<[i64; 64]>>; 4],
    dc: [Option<Huffman>; 4],
    ac: [Option<Huffman>; 4],
    restart_interval: usize,
}

impl Tables {
    fn add_quantisation(&mut self, mut payload: &[u8]) -> Result<(), String> {
        while let [kind, rest @ ..] = payload {
            let bytes = 1 + usize::from(kind >> 4 & 1);
            let values = rest.get(..64 * bytes).ok_or("a quantisation table of the JPEG stream is cut short")?;
            let slot = self.quantisation.get_mut(usize::from(kind & 15)).ok_or("a quantisation table has no place")?;
            let value = |index: usize| match bytes {
                1 => i64::from(values[index]),
                _ => i64::from(u16::from_be_bytes([values[2 * index], values[2 * index + 1]])),
            };
            *slot = Some(Box::new(std::array::from_fn(value)));
            payload = &rest[64 * bytes..];
        }
        Ok(())
    }

    fn add_huffman(&mut self, mut payload: &[u8]) -> Result<(), String> {
        while let [kind, rest @ ..] = payload {
            let (counts, rest) = rest.split_first_chunk::<16>().ok_or("a Huffman table is cut short")?;
            let length = counts.iter().map(|count| usize::from(*count)).sum();
            let symbols = rest.get(..length).ok_or("a Huffman table is cut short")?;
            let class = if kind >> 4 == 0 { &mut self.dc } else { &mut self.ac };
            let slot = class.get_mut(usize::from(kind & 15)).ok_or("a Huffman table has no place")?;
            *slot = Some(Huffman::new(counts, symbols)?);
            payload = &rest[length..];
        }
        Ok(())
    }
}

/// A code table as a look-up by the next 16 bits: length of the code (0: there is none) and symbol.
struct Huffman(Vec<(u8, u8)>);

impl Huffman {
    fn new(counts: &[u8; 16], symbols: &[u8]) -> Result<Self, String> {
        let mut table = vec![(0, 0); 1 << 16];
        let mut code = 0_usize;
        let mut symbols = symbols.iter();
        for (index, count) in counts.iter().enumerate() {
            let span = 1_usize << (15 - index);
            for symbol in symbols.by_ref().take(usize::from(*count)) {
                let entries = table.get_mut(code..code + span).ok_or("a Huffman table has too many codes")?;
                entries.fill((index as u8 + 1, *symbol));
                code += span;
            }
        }
        Ok(Huffman(table))
    }

    fn next(&self, bits: &mut Bits) -> Result<u32, String> {
        let (length, symbol) = self.0[bits.peek16() as usize];
        if length == 0 {
            return Err("the JPEG stream holds a code that its Huffman table has not".into());
        }
        bits.skip(length.into())?;
        Ok(symbol.into())
    }
}

/// What a scan header says of its only component: DC and AC table, then the three parameters of the process.
struct ScanHeader {
    dc: usize,
    ac: usize,
    parameters: [u8; 3],
}

impl ScanHeader {
    fn of(payload: &[u8]) -> Result<Self, String> {
        let [1, _, tables, a, b, c] = *payload else {
            return Err("the JPEG scan header is not that of one component".into());
        };
        Ok(ScanHeader { dc: usize::from(tables >> 4), ac: usize::from(tables & 15), parameters: [a, b, c] })
    }
}

fn table(tables: &[Option<Huffman>; 4], index: usize) -> Result<&Huffman, String> {
    tables
        .get(index)
        .and_then(Option::as_ref)
        .ok_or_else(|| "the JPEG scan names a Huffman table that is not there".into())
}

/// Sequential DCT (annex F).
fn sequential(
    mut bits: Bits,
    tables: &Tables,
    scan: &[u8],
    header: FrameHeader,
    [rows, columns]: [usize; 2],
) -> Result<Vec<u32>, String> {
    let scan = ScanHeader::of(scan)?;
    let (dc, ac) = (table(&tables.dc, scan.dc)?, table(&tables.ac, scan.ac)?);
    if !matches!(header.precision, 8 | 12) {
        return Err(format!("a JPEG image of {} bits is not allowed", header.precision));
    }
    let quantisation = tables.quantisation.get(usize::from(header.quantisation)).and_then(Option::as_ref);
    let quantisation = quantisation.ok_or("the JPEG frame names a quantisation table that is not there")?;
    let mut samples = Vec::new();
    let mut predicted = 0;
    let blocks = columns.div_ceil(8);
    let mut line = vec![0_u32; blocks * 64];
    for block_row in 0..rows.div_ceil(8) {
        for block in 0..blocks {
            let index = block_row * blocks + block;
            if index > 0 && tables.restart_interval > 0 && index.is_multiple_of(tables.restart_interval) {
                bits.restart()?;
                predicted = 0;
            }
            let coefficients = coefficients(&mut bits, dc, ac, quantisation, &mut predicted)?;
            let pixels = inverse_dct(coefficients, header.precision);
            for (row, pixels) in pixels.chunks(8).enumerate() {
                line[row * blocks * 8 + block * 8..][..8].copy_from_slice(pixels);
            }
        }
        let rows_here = (rows - block_row * 8).min(8);
        line.chunks(blocks * 8).take(rows_here).for_each(|row| samples.extend_from_slice(&row[..columns]));
    }
    Ok(samples)
}

/// Decodes and dequantises one block (F.2.2).
fn coefficients(
    bits: &mut Bits,
    dc: &Huffman,
    ac: &Huffman,
    quantisation: &[i64; 64],
    predicted: &mut i64,
) -> Result<[i64; 64], String> {
    let mut block = [0; 64];
    let category = dc.next(bits)?;
    *predicted += bits.signed(category.min(16))?;
    if predicted.unsigned_abs() > 1 << 20 {
        return Err("a DC coefficient of the JPEG stream is out of range".into());
    }
    block[0] = *predicted * quantisation[0];
    let mut at = 1;
    while at < 64 {
        let symbol = ac.next(bits)?;
        let (run, category) = ((symbol >> 4) as usize, symbol & 15);
        match (run, category) {
            (15, 0) => at += 16,
            (_, 0) => break,
            _ => {
                at += run;
                let value = bits.signed(category)?;
                let place = ZIGZAG.get(at).ok_or("a block of the JPEG stream has too many coefficients")?;
                block[usize::from(*place)] = value * quantisation[at];
                at += 1;
            }
        }
    }
    Ok(block)
}

const CONSTANT_BITS: u32 = 13;

/// The accurate integer inverse DCT, with level shift and clamping.
fn inverse_dct(mut block: [i64; 64], precision: u8) -> [u32; 64] {
    let first_pass_bits = if precision == 8 { 2 } else { 1 };
    for column in 0..8 {
        let values = one_dimension(std::array::from_fn(|row| block[row * 8 + column]));
        for (row, value) in values.into_iter().enumerate() {
            block[row * 8 + column] = descaled(value, CONSTANT_BITS - first_pass_bits);
        }
    }
    let (centre, largest) = (1_i64 << (precision - 1), (1_i64 << precision) - 1);
    let mut pixels = [0; 64];
    for row in 0..8 {
        let values = one_dimension(std::array::from_fn(|column| block[row * 8 + column]));
        for (column, value) in values.into_iter().enumerate() {
            let value = descaled(value, CONSTANT_BITS + first_pass_bits + 3) + centre;
            pixels[row * 8 + column] = value.clamp(0, largest) as u32;
        }
    }
    pixels
}

fn descaled(value: i64, bits: u32) -> i64 {
    (value + (1 << (bits - 1))) >> bits
}

fn one_dimension(input: [i64; 8]) -> [i64; 8] {
    let shared = (input[2] + input[6]) * 4433;
    let (low, high) = (shared - input[6] * 15137, shared + input[2] * 6270);
    let (sum, difference) = ((input[0] + input[4]) << CONSTANT_BITS, (input[0] - input[4]) << CONSTANT_BITS);
    let even = [sum + high, difference + low, difference - low, sum - high];
    let [a, b, c, d] = [input[7], input[5], input[3], input[1]];
    let z5 = (a + c + b + d) * 9633;
    let (z1, z2) = ((a + d) * -7373, (b + c) * -20995);
    let (z3, z4) = ((a + c) * -16069 + z5, (b + d) * -3196 + z5);
    let odd = [d * 12299 + z1 + z4, c * 25172 + z2 + z3, b * 16819 + z2 + z4, a * 2446 + z1 + z3];
    std::array::from_fn(|index| if index < 4 { even[index] + odd[index] } else { even[7 - index] - odd[7 - index] })
}

/// Lossless with a predictor (annex H).
fn lossless(
    mut bits: Bits,
    tables: &Tables,
    scan: &[u8],
    header: FrameHeader,
    [rows, columns]: [usize; 2],
) -> Result<Vec<u32>, String> {
    let scan = ScanHeader::of(scan)?;
    let huffman = table(&tables.dc, scan.dc)?;
    let (selector, shift) = (scan.parameters[0], u32::from(scan.parameters[2] & 15));
    let precision = u32::from(header.precision);
    if !(2..=16).contains(&precision) || shift >= precision || !(1..=7).contains(&selector) {
        return Err(format!("lossless JPEG of {precision} bits, predictor {selector}, shift {shift} is not allowed"));
    }
    let start = 1_i32 << (precision - shift - 1);
    let mut samples: Vec<u32> = Vec::new();
    let mut above = vec![0_i32; columns];
    let mut line = vec![0_i32; columns];
    let mut first_line = true;
    for row in 0..rows {
        for column in 0..columns {
            let index = row * columns + column;
            if index > 0 && tables.restart_interval > 0 && index.is_multiple_of(tables.restart_interval) {
                bits.restart()?;
                first_line = true;
            }
            let prediction = match (first_line, column) {
                (true, 0) => start,
                (true, _) => line[column - 1],
                (false, 0) => above[0],
                (false, _) => predicted(selector, line[column - 1], above[column], above[column - 1]),
            };
            let difference = match huffman.next(&mut bits)? {
                16 => 1 << 15,
                category if category > 16 => return Err("a difference of the JPEG stream is out of range".into()),
                category => bits.signed(category)? as i32,
            };
            line[column] = (prediction + difference) & 0xFFFF;
        }
        samples.extend(line.iter().map(|value| (*value as u32) << shift));
        std::mem::swap(&mut above, &mut line);
        first_line = false;
    }
    Ok(samples)
}

/// Table H.1: `a` left, `b` above, `c` above left.
fn predicted(selector: u8, a: i32, b: i32, c: i32) -> i32 {
    match selector {
        1 => a,
        2 => b,
        3 => c,
        4 => a + b - c,
        5 => a + ((b - c) >> 1),
        6 => b + ((a - c) >> 1),
        _ => (a + b) >> 1,
    }
}

/// Bits of the entropy-coded data, most significant first; a zero byte after FF is stuffing (B.1.1.5).
struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
    held: u64,
    count: u32,
    /// Zero bits that were added because the data had ended.
    padding: u32,
}

impl<'a> Bits<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Bits { bytes, at: 0, held: 0, count: 0, padding: 0 }
    }

    fn fill(&mut self) {
        while self.count <= 48 {
            let byte = match self.bytes.get(self.at..) {
                Some([0xFF, 0, ..]) => {
                    self.at += 2;
                    0xFF
                }
                None | Some([] | [0xFF, ..]) => {
                    self.padding += 8;
                    0
                }
                Some([byte, ..]) => {
                    self.at += 1;
                    *byte
                }
            };
            self.held = self.held << 8 | u64::from(byte);
            self.count += 8;
        }
    }

    fn peek16(&mut self) -> u32 {
        if self.count < 16 {
            self.fill();
        }
        (self.held >> (self.count - 16)) as u32 & 0xFFFF
    }

    fn skip(&mut self, bits: u32) -> Result<(), String> {
        self.count -= bits;
        if self.count < self.padding { Err("the JPEG stream ends before its image does".into()) } else { Ok(()) }
    }

    /// Reads a value of a size category and extends its sign (F.2.2.1).
    fn signed(&mut self, category: u32) -> Result<i64, String> {
        if category == 0 {
            return Ok(0);
        }
        let value = i64::from(self.peek16() >> (16 - category));
        self.skip(category)?;
        Ok(if value < 1 << (category - 1) { value - (1 << category) + 1 } else { value })
    }

    /// Goes on after the next restart marker.
    fn restart(&mut self) -> Result<(), String> {
        (self.held, self.count, self.padding) = (0, 0, 0);
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let marker = rest.windows(2).position(|pair| pair[0] == 0xFF && matches!(pair[1], 0xD0..=0xD7));
        self.at += 2 + marker.ok_or("a restart marker of the JPEG stream is missing")?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 9 rows of 11 pixels of 8 bits, written by libjpeg-turbo, and what it decodes them to.
    const BASELINE: &str = "\
        ffd8ffe000104a46494600010100000100010000ffdb00430006040506050406060506070706080a100a0a09090a140e0f0c\
        1017141818171416161a1d251f1a1b231c1616202c20232627292a29191f2d302d283025282928ffc0000b080009000b0101\
        1100ffc4001500010100000000000000000000000000000704ffc40027100001030203080300000000000000000001020411\
        0003061221053233344151527261b1b2ffda0008010100003f00b30b37c46a9522fd8594ac1398022778eb31d47ccf79a4d6\
        871406c80876c94948ca0dc28981a7950d6c1e03bf73fba6069cad9f41f55fffd9";
    const BASELINE_VALUES: &str = "\
        a66fa4a0aaafa0c8cbf7f377857f8b95b2adc9b3dce15f49627a8d778e9e8fa9b03e485c2e6d61587a818686515668716f86\
        7c7faba3a5607e5c8ba9898fa2aea5b594a08499a7abe3c2e0d9f27f8574bbb3c6b6c3c4bbd47151687384967e84a5c1c4";

    fn bytes(hexadecimal: &str) -> Vec<u8> {
        let digit = |byte: u8| (byte as char).to_digit(16).expect("a digit") as u8;
        hexadecimal.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
    }

    /// Writes rows by their left neighbours: every category of difference has the code of 5 bits that is its number.
    fn lossless_stream(rows: &[[u16; 4]], shift: u8, rows_between_restarts: usize) -> Vec<u8> {
        let mut stream = vec![0xFF, 0xD8, 0xFF, 0xC3, 0, 11, 12, 0, rows.len() as u8, 0, 4, 1, 1, 0x11, 0];
        stream.extend([0xFF, 0xC4, 0, 36, 0, 0, 0, 0, 0, 17, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        stream.extend(0..17);
        stream.extend([0xFF, 0xDD, 0, 4, 0, 4 * rows_between_restarts as u8]);
        stream.extend([0xFF, 0xDA, 0, 8, 1, 1, 0, 1, 0, shift]);
        for (interval, rows) in rows.chunks(rows_between_restarts).enumerate() {
            if interval > 0 {
                stream.extend([0xFF, 0xD0 + (interval as u8 - 1) % 8]);
            }
            stream.extend(entropy_coded(rows, shift));
        }
        stream.extend([0xFF, 0xD9]);
        stream
    }

    fn entropy_coded(rows: &[[u16; 4]], shift: u8) -> Vec<u8> {
        let mut bits = String::new();
        let mut above = 1_i32 << (11 - shift);
        for row in rows {
            let mut predicted = above;
            for value in row.map(|value| i32::from(value >> shift)) {
                let difference = value - predicted;
                let category = 32 - difference.unsigned_abs().leading_zeros();
                let low = if difference < 0 { difference + (1 << category) - 1 } else { difference };
                bits += &format!("{category:05b}");
                bits.extend((0..category).rev().map(|bit| if low >> bit & 1 == 1 { '1' } else { '0' }));
                predicted = value;
            }
            above = i32::from(row[0] >> shift);
        }
        let stuffed = |byte: &[u8]| {
            let digits = format!("{:1<8}", String::from_utf8_lossy(byte));
            let byte = u8::from_str_radix(&digits, 2).expect("8 digits");
            if byte == 0xFF { vec![byte, 0] } else { vec![byte] }
        };
        bits.as_bytes().chunks(8).flat_map(stuffed).collect()
    }

    const ROWS: [[u16; 4]; 4] = [[0, 4095, 17, 2048], [8, 9, 4000, 1], [2047, 2048, 2049, 3], [4095, 0, 4095, 0]];

    #[test]
    fn lossless_values_survive_restarts_and_point_transforms() {
        for (shift, rows_between_restarts) in [(0, 4), (0, 1), (0, 2), (2, 4), (3, 2)] {
            let stream = lossless_stream(&ROWS, shift, rows_between_restarts);
            let wanted: Vec<u32> = ROWS.iter().flatten().map(|value| u32::from(value >> shift << shift)).collect();
            assert_eq!(decode(&stream, [4, 4]).expect("decodes").bits, wanted, "{shift} {rows_between_restarts}");
        }
    }

    #[test]
    fn baseline_values_are_those_of_libjpeg() {
        let wanted: Vec<u32> = bytes(BASELINE_VALUES).into_iter().map(u32::from).collect();
        assert_eq!(decode(&bytes(BASELINE), [9, 11]).expect("decodes").bits, wanted);
    }

    #[test]
    fn stream_whose_end_marker_comes_early_is_refused() {
        let cut = |stream: &[u8]| [&stream[..stream.len() - 10], &[0xFF, 0xD9]].concat();
        for (stream, size) in [(lossless_stream(&ROWS, 0, 4), [4, 4]), (bytes(BASELINE), [9, 11])] {
            let (code, message) = decode(&cut(&stream), size).expect_err("cut");
            assert_eq!(code, "undecodable_pixels");
            assert!(message.contains("ends before its image"), "{message}");
        }
    }
}
