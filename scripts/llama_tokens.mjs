#!/usr/bin/env node
// Writes the tokens that llama.cpp makes of texts, for `make_byte_pairs.py` and others.
//
//     node scripts/llama_tokens.mjs [--special] MODULES TEXTS.json OUT.json VOCABULARY.gguf...
//
// MODULES is the folder in which `npm install --ignore-scripts node-llama-cpp` was
// run, TEXTS.json a list of texts. OUT.json has, for the name of each vocabulary
// without its end, a list of the tokens of each text, or what llama.cpp calls wrong.
// The texts of control tokens are text, without `--special`; no token is added.

import {readFileSync, writeFileSync} from "node:fs";
import path from "node:path";
import {pathToFileURL} from "node:url";

const special = process.argv[2] === "--special";
const [modules, texts, out, ...vocabularies] = process.argv.slice(special ? 3 : 2);
const entry = path.join(path.resolve(modules), "node_modules/node-llama-cpp/dist/index.js");
const {getLlama, LlamaLogLevel} = await import(pathToFileURL(entry).href);
let said = [];
const llama = await getLlama({
    gpu: false, build: "never", logLevel: LlamaLogLevel.error,
    logger: (_, message) => said.push(message.trim()),
});
const given = JSON.parse(readFileSync(texts, "utf8"));
const found = {};
for (const file of vocabularies) {
    const name = path.basename(file, ".gguf");
    said = [];
    try {
        const model = await llama.loadModel({
            modelPath: path.resolve(file), vocabOnly: true, gpuLayers: 0,
        });
        found[name] = given.map((text) => model.tokenize(text, special).map(Number));
        await model.dispose();
    } catch (error) {
        found[name] = said[0] ?? String(error);
    }
}
writeFileSync(out, JSON.stringify(found));
process.exit(0);
