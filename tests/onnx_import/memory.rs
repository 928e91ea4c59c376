//! What networks of several kinds take on a device: little more than their weights
//! and the largest set of values that are needed at one time.

use super::Named;
use super::build::*;
use crate::support::spared;
use libtest_mimic::Failed;
use wginfer::formats::onnx::proto::{AttributeProto, GraphProto, NodeProto, TensorProto};
use wginfer::onnx::Model;
use wginfer::{Backend, Tensor};

/// A network in the making.
#[derive(Default)]
struct Net {
    nodes: Vec<NodeProto>,
    constants: Vec<TensorProto>,
    /// How many values have got a name.
    named: usize,
}

impl Net {
    fn weight(&mut self, dims: &[i64]) -> String {
        let name = format!("w{}", self.constants.len());
        let count = dims.iter().product::<i64>() as usize;
        let values: Vec<f32> = (0..count).map(|i| ((i * 37 % 101) as f32 - 50.0) * 1e-3).collect();
        self.constants.push(floats(&name, dims, &values));
        name
    }

    fn constant(&mut self, dims: &[i64], values: &[f32]) -> String {
        let name = format!("c{}", self.constants.len());
        self.constants.push(floats(&name, dims, values));
        name
    }

    fn numbers(&mut self, values: &[i64]) -> String {
        let name = format!("n{}", self.constants.len());
        self.constants.push(wholes(&name, &[values.len() as i64], values));
        name
    }

    fn add(&mut self, op: &str, inputs: &[&str], attributes: Vec<AttributeProto>) -> String {
        let name = format!("v{}", self.named);
        self.named += 1;
        self.nodes.push(with(node(op, inputs, &[&name]), attributes));
        name
    }

    fn op(&mut self, op: &str, inputs: &[&str]) -> String {
        self.add(op, inputs, vec![])
    }

    /// A convolution that keeps the size, or divides it by `stride`, and its activation.
    fn conv(&mut self, x: &str, [from, to, kernel, stride]: [i64; 4]) -> String {
        let weight = self.weight(&[to, from, kernel, kernel]);
        let attributes = vec![ints("pads", &[kernel / 2; 4]), ints("strides", &[stride; 2])];
        let sum = self.add("Conv", &[x, &weight], attributes);
        self.op("Relu", &[&sum])
    }

    fn dense(&mut self, x: &str, from: i64, to: i64) -> String {
        let (weight, bias) = (self.weight(&[from, to]), self.weight(&[to]));
        let product = self.op("MatMul", &[x, &weight]);
        self.op("Add", &[&product, &bias])
    }

    fn norm(&mut self, x: &str, size: i64) -> String {
        let (scale, bias) = (self.weight(&[size]), self.weight(&[size]));
        self.op("LayerNormalization", &[x, &scale, &bias])
    }

    fn done(self, y: &str, dims: &[i64]) -> (GraphProto, Vec<usize>) {
        let sizes: Vec<D> = dims.iter().map(|&size| D::N(size)).collect();
        let graph = net(self.nodes, vec![info("x", FLOAT, &sizes)], &[y], self.constants);
        (graph, dims.iter().map(|&size| size as usize).collect())
    }
}

/// Blocks with residuals, a bottleneck in each, over four sizes.
fn residual() -> (GraphProto, Vec<usize>) {
    let mut net = Net::default();
    let mut x = net.conv("x", [3, 32, 3, 2]);
    let mut width = 32;
    for scale in 0..3 {
        for block in 0..2 {
            let stride = if scale > 0 && block == 0 { 2 } else { 1 };
            let wide = 32 << scale;
            let narrow = net.conv(&x, [width, wide / 2, 1, 1]);
            let inner = net.conv(&narrow, [wide / 2, wide / 2, 3, stride]);
            let outer = net.conv(&inner, [wide / 2, wide, 1, 1]);
            let skip = match (stride, width == wide) {
                (1, true) => x,
                _ => net.conv(&x, [width, wide, 1, stride]),
            };
            x = net.op("Add", &[&outer, &skip]);
            width = wide;
        }
    }
    let y = net.op("GlobalAveragePool", &[&x]);
    net.done(&y, &[1, 3, 128, 128])
}

/// Skips over all scales on the way down, joined on the way up.
fn u_net() -> (GraphProto, Vec<usize>) {
    let mut net = Net::default();
    let (mut x, mut width) = (String::from("x"), 3);
    let mut skips = Vec::new();
    for scale in 0..3 {
        let wide = 16 << scale;
        let once = net.conv(&x, [width, wide, 3, 1]);
        let twice = net.conv(&once, [wide, wide, 3, 1]);
        let half = vec![ints("kernel_shape", &[2, 2]), ints("strides", &[2, 2])];
        x = net.add("MaxPool", &[&twice], half);
        skips.push((twice, wide));
        width = wide;
    }
    for (skip, wide) in skips.into_iter().rev() {
        let up = net.weight(&[width, wide, 2, 2]);
        let up = net.add("ConvTranspose", &[&x, &up], vec![ints("strides", &[2, 2])]);
        let both = net.add("Concat", &[&up, &skip], vec![int("axis", 1)]);
        let once = net.conv(&both, [2 * wide, wide, 3, 1]);
        x = net.conv(&once, [wide, wide, 3, 1]);
        width = wide;
    }
    let y = net.conv(&x, [width, 2, 1, 1]);
    net.done(&y, &[1, 3, 96, 96])
}

/// Four branches of unequal width and depth, joined, twice.
fn inception() -> (GraphProto, Vec<usize>) {
    let mut net = Net::default();
    let mut x = net.conv("x", [3, 24, 3, 2]);
    let mut width = 24;
    for _ in 0..3 {
        let one = net.conv(&x, [width, 16, 1, 1]);
        let narrow = net.conv(&x, [width, 12, 1, 1]);
        let three = net.conv(&narrow, [12, 24, 3, 1]);
        let narrower = net.conv(&x, [width, 6, 1, 1]);
        let wider = net.conv(&narrower, [6, 12, 3, 1]);
        let five = net.conv(&wider, [12, 12, 3, 1]);
        let window = vec![ints("kernel_shape", &[3, 3]), ints("pads", &[1; 4])];
        let pooled = net.add("MaxPool", &[&x], window);
        let pool = net.conv(&pooled, [width, 8, 1, 1]);
        x = net.add("Concat", &[&one, &three, &five, &pool], vec![int("axis", 1)]);
        width = 60;
    }
    let y = net.op("GlobalAveragePool", &[&x]);
    net.done(&y, &[1, 3, 112, 112])
}

/// Each layer reads all before it.
fn dense_block() -> (GraphProto, Vec<usize>) {
    let mut net = Net::default();
    let mut all = vec![net.conv("x", [3, 24, 3, 2])];
    for layer in 0..6 {
        let width = 24 + 12 * layer;
        let joined = match &all[..] {
            [one] => one.clone(),
            many => {
                let many: Vec<&str> = many.iter().map(String::as_str).collect();
                net.add("Concat", &many, vec![int("axis", 1)])
            }
        };
        let narrow = net.conv(&joined, [width, 48, 1, 1]);
        all.push(net.conv(&narrow, [48, 12, 3, 1]));
    }
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    let joined = net.add("Concat", &all, vec![int("axis", 1)]);
    let y = net.op("GlobalAveragePool", &[&joined]);
    net.done(&y, &[1, 3, 112, 112])
}

/// Two blocks of a vision transformer: attention from its primitives, and what follows.
fn transformer() -> (GraphProto, Vec<usize>) {
    const WIDTH: i64 = 64;
    let mut net = Net::default();
    let patches = net.weight(&[WIDTH, 3, 8, 8]);
    let patches = net.add("Conv", &["x", &patches], vec![ints("strides", &[8, 8])]);
    let flat = net.numbers(&[1, WIDTH, -1]);
    let flat = net.op("Reshape", &[&patches, &flat]);
    let mut x = net.add("Transpose", &[&flat], vec![ints("perm", &[0, 2, 1])]);
    let split = net.numbers(&[1, -1, 4, WIDTH / 4]);
    let joined = net.numbers(&[1, -1, WIDTH]);
    for _ in 0..2 {
        let normed = net.norm(&x, WIDTH);
        let heads = [[0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3]].map(|perm| {
            let all = net.dense(&normed, WIDTH, WIDTH);
            let heads = net.op("Reshape", &[&all, &split]);
            net.add("Transpose", &[&heads], vec![ints("perm", &perm)])
        });
        let scores = net.op("MatMul", &[&heads[0], &heads[1]]);
        let shares = net.add("Softmax", &[&scores], vec![int("axis", -1)]);
        let read = net.op("MatMul", &[&shares, &heads[2]]);
        let read = net.add("Transpose", &[&read], vec![ints("perm", &[0, 2, 1, 3])]);
        let read = net.op("Reshape", &[&read, &joined]);
        let read = net.dense(&read, WIDTH, WIDTH);
        x = net.op("Add", &[&read, &x]);
        let normed = net.norm(&x, WIDTH);
        let wide = net.dense(&normed, WIDTH, 4 * WIDTH);
        let wide = net.op("Relu", &[&wide]);
        let back = net.dense(&wide, 4 * WIDTH, WIDTH);
        x = net.op("Add", &[&back, &x]);
    }
    net.done(&x, &[1, 3, 192, 192])
}

/// Two layers in both directions, over a sequence.
fn lstm() -> (GraphProto, Vec<usize>) {
    const HIDDEN: i64 = 48;
    let mut net = Net::default();
    let (mut x, mut width) = (String::from("x"), 64);
    let joined = net.numbers(&[0, 0, -1]);
    for _ in 0..2 {
        let (w, r) = (net.weight(&[2, 4 * HIDDEN, width]), net.weight(&[2, 4 * HIDDEN, HIDDEN]));
        let mut attributes = vec![int("hidden_size", HIDDEN)];
        attributes.push(text("direction", "bidirectional"));
        let y = net.add("LSTM", &[&x, &w, &r], attributes);
        let y = net.add("Transpose", &[&y], vec![ints("perm", &[0, 2, 1, 3])]);
        x = net.op("Reshape", &[&y, &joined]);
        width = 2 * HIDDEN;
    }
    let y = net.dense(&x, width, 32);
    net.done(&y, &[96, 8, 64])
}

/// Anchors of three sizes around each place of a square map.
fn anchors(side: i64, stride: f32, size: f32) -> Vec<f32> {
    let mut boxes = Vec::new();
    for at in 0..side * side {
        let centre = [at % side, at / side].map(|place| (place as f32 + 0.5) * stride);
        for scale in [1.0, 2.0, 4.0] {
            let half = size * scale / 2.0;
            let [x, y] = centre;
            boxes.extend([x - half, y - half, x + half, y + half]);
        }
    }
    boxes
}

/// What is proposed at each place of a map: scores `[1, anchors]`, and how far boxes
/// are from their anchors, `[1, anchors, 4]`.
fn proposals(net: &mut Net, map: &str, width: i64) -> [String; 2] {
    let hidden = net.conv(map, [width, width, 3, 1]);
    [1, 4].map(|each| {
        let weight = net.weight(&[3 * each, width, 1, 1]);
        let found = net.op("Conv", &[&hidden, &weight]);
        let last = net.add("Transpose", &[&found], vec![ints("perm", &[0, 2, 3, 1])]);
        let sizes: &[i64] = if each == 1 { &[1, -1] } else { &[1, -1, 4] };
        let sizes = net.numbers(sizes);
        net.op("Reshape", &[&last, &sizes])
    })
}

/// Windows of a map, one for each box `[n, 4]`.
fn windows(net: &mut Net, map: &str, boxes: &str, (size, scale): (i64, f32)) -> String {
    let shape = net.op("Shape", &[boxes]);
    let first = net.numbers(&[0]);
    let count = net.op("Gather", &[&shape, &first]);
    let zero = vec![tensor("value", wholes("zero", &[1], &[0]))];
    let pictures = net.add("ConstantOfShape", &[&count], zero);
    let mut attributes = vec![int("output_height", size), int("output_width", size)];
    attributes.extend([float("spatial_scale", scale), int("sampling_ratio", 2)]);
    net.add("RoiAlign", &[map, boxes, &pictures], attributes)
}

/// A detector in two stages: a pyramid of two maps, proposals, suppression of those that
/// overlap (on the host), windows of the map that fits each, a head, suppression again,
/// and masks. The maps stay on the device all the way.
fn detector() -> (GraphProto, Vec<usize>) {
    const WIDTH: i64 = 32;
    const SIDE: i64 = 256;
    let mut net = Net::default();
    let half = net.conv("x", [3, 16, 3, 2]);
    let fine = net.conv(&half, [16, WIDTH, 3, 2]);
    let coarse = net.conv(&fine, [WIDTH, 2 * WIDTH, 3, 2]);
    let coarse = net.conv(&coarse, [2 * WIDTH, WIDTH, 1, 1]);
    let lateral = net.conv(&fine, [WIDTH, WIDTH, 1, 1]);
    let scales = net.constant(&[4], &[1.0, 1.0, 2.0, 2.0]);
    let up = net.op("Resize", &[&coarse, "", &scales]);
    let fine = net.op("Add", &[&lateral, &up]);
    // What is proposed, the best of it as boxes.
    let [scores, deltas] = proposals(&mut net, &fine, WIDTH);
    let [more_scores, more_deltas] = proposals(&mut net, &coarse, WIDTH);
    let scores = net.add("Concat", &[&scores, &more_scores], vec![int("axis", 1)]);
    let deltas = net.add("Concat", &[&deltas, &more_deltas], vec![int("axis", 1)]);
    let all = [anchors(SIDE / 4, 4.0, 16.0), anchors(SIDE / 8, 8.0, 32.0)].concat();
    let all = net.constant(&[1, all.len() as i64 / 4, 4], &all);
    let best = net.numbers(&[200]);
    net.nodes.push(node("TopK", &[&scores, &best], &["best", "places"]));
    let flat = net.numbers(&[-1]);
    let places = net.op("Reshape", &["places", &flat]);
    let around = net.add("Gather", &[&all, &places], vec![int("axis", 1)]);
    let moved = net.add("Gather", &[&deltas, &places], vec![int("axis", 1)]);
    let boxes = net.op("Add", &[&around, &moved]);
    let (none, side) = (net.constant(&[], &[0.0]), net.constant(&[], &[SIDE as f32]));
    let boxes = net.op("Clip", &[&boxes, &none, &side]);
    let boxes = suppressed(&mut net, &boxes, "best", 60);
    // Large boxes read the coarse map.
    let corners: Vec<String> = (0..2)
        .map(|end| {
            let columns = net.numbers(&[2 * end, 2 * end + 1]);
            net.add("Gather", &[&boxes, &columns], vec![int("axis", 1)])
        })
        .collect();
    let sizes = net.op("Sub", &[&corners[1], &corners[0]]);
    let last = net.numbers(&[1]);
    let size = net.add("ReduceMax", &[&sizes, &last], vec![int("keepdims", 0)]);
    let limit = net.constant(&[], &[48.0]);
    let large = net.op("Greater", &[&size, &limit]);
    let small = net.op("Not", &[&large]);
    let read: Vec<String> = [(&large, &coarse, 0.125), (&small, &fine, 0.25)]
        .map(|(which, map, scale)| {
            let rows = net.op("NonZero", &[which]);
            let rows = net.op("Reshape", &[&rows, &flat]);
            let boxes = net.op("Gather", &[&boxes, &rows]);
            [windows(&mut net, map, &boxes, (7, scale)), boxes]
        })
        .concat();
    let read_all = net.add("Concat", &[&read[0], &read[2]], vec![int("axis", 0)]);
    let boxes = net.add("Concat", &[&read[1], &read[3]], vec![int("axis", 0)]);
    let rows = net.add("Flatten", &[&read_all], vec![int("axis", 1)]);
    let hidden = net.dense(&rows, WIDTH * 49, 128);
    let hidden = net.op("Relu", &[&hidden]);
    let classes = net.dense(&hidden, 128, 4);
    let shares = net.add("Softmax", &[&classes], vec![int("axis", -1)]);
    let most = net.add("ReduceMax", &[&shares, &last], vec![int("keepdims", 0)]);
    let offsets = net.dense(&hidden, 128, 4);
    let boxes = net.op("Add", &[&boxes, &offsets]);
    let (one, first) = (net.numbers(&[1, -1]), net.numbers(&[1, -1, 4]));
    let most = net.op("Reshape", &[&most, &one]);
    let boxes = net.op("Reshape", &[&boxes, &first]);
    let boxes = suppressed(&mut net, &boxes, &most, 30);
    let mut mask = windows(&mut net, &fine, &boxes, (14, 0.25));
    for _ in 0..2 {
        mask = net.conv(&mask, [WIDTH, WIDTH, 3, 1]);
    }
    let weight = net.weight(&[WIDTH, 1, 2, 2]);
    let mask = net.add("ConvTranspose", &[&mask, &weight], vec![ints("strides", &[2, 2])]);
    let mask = net.op("Sigmoid", &[&mask]);
    net.done(&mask, &[1, 3, SIDE, SIDE])
}

/// The boxes `[n, 4]` of `[1, all, 4]` that do not overlap with better ones, by the
/// scores `[1, all]`.
fn suppressed(net: &mut Net, boxes: &str, scores: &str, most: i64) -> String {
    let shape = net.numbers(&[1, 1, -1]);
    let scores = net.op("Reshape", &[scores, &shape]);
    let most = net.numbers(&[most]);
    let limit = net.constant(&[1], &[0.7]);
    let found = net.op("NonMaxSuppression", &[boxes, &scores, &most, &limit]);
    let which = net.numbers(&[2]);
    let rows = net.add("Gather", &[&found, &which], vec![int("axis", 1)]);
    let flat = net.numbers(&[-1]);
    let rows = net.op("Reshape", &[&rows, &flat]);
    let four = net.numbers(&[-1, 4]);
    let boxes = net.op("Reshape", &[boxes, &four]);
    net.op("Gather", &[&boxes, &rows])
}

/// A decoder with its loop in the model: keys that grow by each token, a block that only
/// some tokens go through, and a condition that only a run can tell.
fn decoder() -> (GraphProto, Vec<usize>) {
    const WIDTH: i64 = 128;
    const TOKENS: i64 = 64;
    let mut net = Net::default();
    let normed = net.norm("x", WIDTH);
    let keys = net.dense(&normed, WIDTH, WIDTH);
    let table = net.weight(&[TOKENS, WIDTH]);
    let start = net.numbers(&[3]);
    let outer = net.nodes.len();
    let row = net.op("Gather", &[&table, "token"]);
    let one = net.numbers(&[1, 1, WIDTH]);
    let row = net.op("Reshape", &[&row, &one]);
    let more = net.dense(&row, WIDTH, WIDTH);
    let longer = net.add("Concat", &["keys", &more], vec![int("axis", 1)]);
    let turned = net.add("Transpose", &[&longer], vec![ints("perm", &[0, 2, 1])]);
    let query = net.dense(&row, WIDTH, WIDTH);
    let scores = net.op("MatMul", &[&query, &turned]);
    let shares = net.add("Softmax", &[&scores], vec![int("axis", -1)]);
    let read = net.op("MatMul", &[&shares, &longer]);
    let x = net.op("Add", &[&row, &read]);
    let most = net.add("ReduceMax", &[&x], vec![int("keepdims", 0)]);
    let limit = net.constant(&[], &[0.05]);
    let large = net.op("Greater", &[&most, &limit]);
    let before = net.nodes.len();
    let wide = net.dense(&x, WIDTH, 4 * WIDTH);
    let wide = net.op("Relu", &[&wide]);
    let back = net.dense(&wide, 4 * WIDTH, WIDTH);
    let block = self::net(net.nodes.split_off(before), vec![], &[&back], vec![]);
    let none = vec![node("Identity", &[&x], &["same"])];
    let none = self::net(none, vec![], &["same"], vec![]);
    let branches = vec![graph("then_branch", block), graph("else_branch", none)];
    let x = net.add("If", &[&large], branches);
    let scores = net.dense(&x, WIDTH, TOKENS);
    let best = net.add("ArgMax", &[&scores], vec![int("axis", -1), int("keepdims", 0)]);
    let flat = net.numbers(&[-1]);
    let next = net.op("Reshape", &[&best, &flat]);
    let end = net.numbers(&[-1]);
    let ends = net.op("Equal", &[&next, &end]);
    let goes = net.op("Not", &[&ends]);
    let goes = net.op("Squeeze", &[&goes]);
    let inputs = vec![
        info("number", INT64, &[]),
        info("go", BOOL, &[]),
        info("token", INT64, &[D::N(1)]),
        info("keys", FLOAT, &[D::N(1), D::Any, D::N(WIDTH)]),
    ];
    let body = net.nodes.split_off(outer);
    let body = self::net(body, inputs, &[&goes, &next, &longer], vec![]);
    net.constants.push(wholes("most", &[], &[12]));
    let all = node("Loop", &["most", "", &start, &keys], &["last", "all"]);
    net.nodes.push(with(all, vec![graph("body", body)]));
    net.done("all", &[1, 160, WIDTH])
}

/// At most 15 % more than what each network needs.
pub fn several_kinds(backend: &Named) -> Result<(), Failed> {
    let Backend::Gpu(gpu) = &backend.backend else { return Ok(()) };
    type Make = fn() -> (GraphProto, Vec<usize>);
    let kinds: [(&str, Make); 8] = [
        ("residual", residual),
        ("u_net", u_net),
        ("inception", inception),
        ("dense_block", dense_block),
        ("transformer", transformer),
        ("lstm", lstm),
        ("detector", detector),
        ("decoder", decoder),
    ];
    let mut over = Vec::new();
    for (kind, make) in kinds {
        let (graph, dims) = make();
        let model = Model::from_bytes(&format!("{kind}.onnx"), bytes(graph))?;
        let count: usize = dims.iter().product();
        let values: Vec<f32> = (0..count).map(|i| (i * 29 % 83) as f32 / 83.0).collect();
        let x = Tensor::from_f32(&dims, &values)?;
        over.extend(spared::run(kind, &model, gpu, &[("x", &x)])?.over);
    }
    spared::conclude(&over)
}
