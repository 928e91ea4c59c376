#!/usr/bin/env node
// Writes the vectors that llama.cpp gives texts, for `make_encoder_models.py`.
//
//     node scripts/llama_vectors.mjs MODULES MODEL.gguf TEXTS.json OUT.json [rank]
//
// MODULES is the folder in which `npm install --ignore-scripts node-llama-cpp` was run.
// TEXTS.json is a list of texts, or of lists of token ids; OUT.json becomes a list of
// {tokens, vector}, as the file says they are pooled. CPU backend, F32
// cache, no flash attention. With `rank` texts are token ids of pairs for a ranker, and
// `vector` has the one score.

import {readFileSync, writeFileSync} from "node:fs";
import path from "node:path";
import {pathToFileURL} from "node:url";

const [modules, model, given, out, rank] = process.argv.slice(2);
const entry = path.join(path.resolve(modules), "node_modules/node-llama-cpp/dist/index.js");
const {getLlama, LlamaLogLevel} = await import(pathToFileURL(entry).href);
const llama = await getLlama({
    gpu: false, build: "never", logLevel: LlamaLogLevel.error,
    logger: (_, message) => process.stderr.write(`${message.trim()}\n`),
});
const loaded = await llama.loadModel({
    modelPath: path.resolve(model), gpuLayers: 0, defaultContextFlashAttention: false,
    defaultContextKvCacheKeyType: "F32",
    defaultContextKvCacheValueType: "F32",
});
const sizes = {contextSize: 512, batchSize: 512, ignoreMemorySafetyChecks: true};
const context = rank
    ? await loaded.createRankingContext(sizes) : await loaded.createEmbeddingContext(sizes);
const texts = JSON.parse(readFileSync(given, "utf8"));
const results = [];
for (const text of texts) {
    const tokens = typeof text === "string" ? loaded.tokenize(text) : text;
    const {vector} = rank
        ? {vector: [await context._evaluateRankingForInput(tokens)]}
        : await context.getEmbeddingFor(text);
    results.push({tokens, vector});
}
writeFileSync(out, JSON.stringify(results));
process.exit(0);
