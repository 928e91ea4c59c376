#!/usr/bin/env node
// Writes llama.cpp's logits after each token of a list, for `compare_decoders.py`.
//
//     node scripts/llama_logits.mjs MODULES MODEL.gguf TOKENS.json OUT.bin [LORA.gguf SCALE]...
//
// MODULES is the folder in which `npm install --ignore-scripts node-llama-cpp` was
// run, TOKENS.json has `tokens`. OUT.bin is laid out as by `examples/logits.rs`. CPU
// backend, F32 cache, no flash attention. What llama.cpp calls an error goes to
// stderr; the version of the build goes to stdout.

import {readFileSync, writeFileSync} from "node:fs";
import path from "node:path";
import {pathToFileURL} from "node:url";

const [modules, model, given, out, ...loras] = process.argv.slice(2);
const entry = path.join(path.resolve(modules), "node_modules/node-llama-cpp/dist/index.js");
const {getLlama, LlamaLogLevel} = await import(pathToFileURL(entry).href);
const llama = await getLlama({
    gpu: false, build: "never", logLevel: LlamaLogLevel.error,
    logger: (_, message) => process.stderr.write(`${message.trim()}\n`),
});
const {tokens} = JSON.parse(readFileSync(given, "utf8"));
const loaded = await llama.loadModel({modelPath: path.resolve(model), gpuLayers: 0});
const adapters = [];
for (let i = 0; i < loras.length; i += 2) {
    adapters.push({filePath: path.resolve(loras[i]), scale: Number(loras[i + 1])});
}
const context = await loaded.createContext({
    ...(adapters.length > 0 ? {lora: {adapters}} : {}),
    contextSize: tokens.length + 8,
    experimentalKvCacheKeyType: "F32",
    experimentalKvCacheValueType: "F32",
    flashAttention: false,
    ignoreMemorySafetyChecks: true,
});
const results = await context.getSequence().controlledEvaluate(
    tokens.map((token) => [token, {generateNext: {logits: true, options: {temperature: 0}}}]),
);
const vocabulary = results[0].next.logits.size;
const bytes = Buffer.alloc(8 + 4 * tokens.length + 4 * vocabulary * tokens.length);
bytes.writeUInt32LE(tokens.length, 0);
bytes.writeUInt32LE(vocabulary, 4);
tokens.forEach((token, i) => bytes.writeUInt32LE(token, 8 + 4 * i));
const start = 8 + 4 * tokens.length;
results.forEach((result, i) => {
    for (const [token, logit] of result.next.logits) {
        bytes.writeFloatLE(logit, start + 4 * (vocabulary * i + token));
    }
});
writeFileSync(out, bytes);
console.log(llama.llamaCppRelease?.release ?? "unknown");
process.exit(0);
