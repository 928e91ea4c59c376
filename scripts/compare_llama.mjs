#!/usr/bin/env node
// Runs one GGUF file through wginfer and through llama.cpp and says how far apart
// they are: tokens, logits after each of them, perplexity.
//
//     mkdir judge && cd judge && npm install --ignore-scripts node-llama-cpp
//     cargo build --release --example logits
//     node scripts/compare_llama.mjs MODEL.gguf [TEXT.txt] [--modules DIR] [--logits PROGRAM]
//         [--device cpu|auto|ADAPTER] [--most TOKENS] [--limit RELATIVE_L2]
//
// llama.cpp is the prebuilt one of npm's node-llama-cpp, on its CPU backend, whose
// products with quantised weights round activations to 8 bits: only a file with
// floating-point weights is a strict judge (differences of about 1e-6 in F32). The
// cache is F32 on both sides.

import {execFileSync} from "node:child_process";
import {mkdtempSync, readFileSync, rmSync, writeFileSync} from "node:fs";
import {tmpdir} from "node:os";
import path from "node:path";
import {fileURLToPath, pathToFileURL} from "node:url";
import {parseArgs} from "node:util";

const root = path.join(path.dirname(fileURLToPath(import.meta.url)), "..");
const {values: given, positionals} = parseArgs({
    allowPositionals: true,
    options: {
        modules: {type: "string", default: "."},
        logits: {type: "string", default: path.join(root, "target/release/examples/logits")},
        device: {type: "string", default: "cpu"},
        most: {type: "string", default: "64"},
        limit: {type: "string"},
    },
});
const [model, textFile] = positionals;
if (model === undefined) {
    console.error("usage: compare_llama.mjs MODEL.gguf [TEXT.txt] [options]; see the file's head");
    process.exit(2);
}
const text = textFile === undefined
    ? "The river is 3,000 km long. In 1858 it flooded; nobody knew why \u2014 caf\u00e9s closed, and children sang."
    : readFileSync(textFile, "utf8");

const entry = path.join(path.resolve(given.modules), "node_modules/node-llama-cpp/dist/index.js");
const {getLlama, LlamaLogLevel} = await import(pathToFileURL(entry).href);
const folder = mkdtempSync(path.join(tmpdir(), "wginfer-judge-"));
let failed = false;
try {
    const ours = runOurs(folder);
    const {tokens, rows} = await runTheirs(ours.tokens);
    report(ours, tokens, rows);
} finally {
    rmSync(folder, {recursive: true});
}
process.exit(failed ? 1 : 0);

// Tokens and rows of logits, as `examples/logits.rs` writes them.
function runOurs(folder) {
    const [textFile, out] = ["text.txt", "logits.bin"].map((name) => path.join(folder, name));
    writeFileSync(textFile, text);
    const started = performance.now();
    execFileSync(given.logits, [model, textFile, out, given.device], {stdio: "inherit"});
    console.log(`wginfer: ${((performance.now() - started) / 1000).toFixed(1)} s`);
    const bytes = readFileSync(out);
    const numbers = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length);
    const [count, vocabulary] = new Uint32Array(numbers, 0, 2);
    const tokens = [...new Uint32Array(numbers, 8, count)];
    const start = 8 + 4 * count;
    const row = (i) => new Float32Array(numbers, start + 4 * vocabulary * i, vocabulary);
    return {tokens, rows: tokens.map((_, i) => row(i))};
}

// The tokens that llama.cpp makes of the text, and the logits after each of ours.
async function runTheirs(tokens) {
    const llama = await getLlama({gpu: false, build: "never", logLevel: LlamaLogLevel.error});
    const loaded = await llama.loadModel({modelPath: path.resolve(model), gpuLayers: 0});
    const asked = tokens.slice(0, Number(given.most));
    const context = await loaded.createContext({
        contextSize: asked.length + 8,
        experimentalKvCacheKeyType: "F32",
        experimentalKvCacheValueType: "F32",
        flashAttention: false,
        ignoreMemorySafetyChecks: true,
    });
    const theirs = [...loaded.tokenize(text, true)].map(Number);
    const bos = loaded.tokens.bos;
    if (loaded.tokens.shouldPrependBosToken && theirs[0] !== bos) theirs.unshift(bos);
    const sequence = context.getSequence();
    const results = await sequence.controlledEvaluate(
        asked.map((token) => [token, {generateNext: {logits: true, options: {temperature: 0}}}]),
    );
    const rows = results.map((result) => result?.next.logits);
    return {tokens: theirs, rows};
}

function report(ours, theirs, rows) {
    const same = JSON.stringify(ours.tokens) === JSON.stringify(theirs);
    console.log(`tokens: ${ours.tokens.length}, ${same ? "the same" : "OTHERS"}`);
    if (!same) {
        console.log(`  wginfer   ${ours.tokens.join(" ")}\n  llama.cpp ${theirs.join(" ")}`);
        failed = true;
    }
    let [worst, largest, top] = [0, 0, 0];
    const surprise = [0, 0];
    rows.forEach((logits, i) => {
        const row = ours.rows[i];
        let [off, all] = [0, 0];
        for (const [token, logit] of logits) {
            off += (row[token] - logit) ** 2;
            all += logit ** 2;
            largest = Math.max(largest, Math.abs(row[token] - logit));
        }
        worst = Math.max(worst, Math.sqrt(off / all));
        const [best] = logits.keys();
        top += row.every((logit) => logit <= row[best]) ? 1 : 0;
        if (i + 1 < rows.length) {
            const next = ours.tokens[i + 1];
            surprise[0] += surpriseOf([...row], row[next]);
            surprise[1] += surpriseOf([...logits.values()], logits.get(next));
        }
    });
    const [mine, other] = surprise.map((sum) => Math.exp(sum / Math.max(rows.length - 1, 1)));
    console.log(`logits after ${rows.length} tokens: relative L2 at most ${worst.toExponential(2)}, `
        + `largest difference ${largest.toExponential(2)}, same best token ${top}/${rows.length}`);
    console.log(`perplexity: wginfer ${mine.toFixed(4)}, llama.cpp ${other.toFixed(4)}`);
    if (!(worst <= Number(given.limit ?? Infinity))) failed = true;
}

function surpriseOf(logits, chosen) {
    const most = logits.reduce((a, b) => Math.max(a, b));
    return Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit - most), 0)) + most - chosen;
}
