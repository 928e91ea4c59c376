#!/usr/bin/env node
// llama.cpp's Vulkan backend as a server of timings: see README.md.
//
//     llama.mjs MODULES MODEL.gguf
//
// MODULES has `node_modules/node-llama-cpp`, whose prebuilt llama.cpp is used. Without
// GGML_VK_VISIBLE_DEVICES=0 it does not take a software adapter and computes on the
// CPU, so what it says it computes on is asked and told.

import path from "node:path";
import {createInterface} from "node:readline";
import {pathToFileURL} from "node:url";

const [modules, model] = process.argv.slice(2);
process.env.GGML_VK_VISIBLE_DEVICES ??= "0";
// It tries its library in a process of its own, which has to find the adapter too.
if (process.env.PEER_NODE) process.execPath = process.env.PEER_NODE;
const entry = path.join(path.resolve(modules), "node_modules/node-llama-cpp/dist/index.js");
const {getLlama, LlamaLogLevel} = await import(pathToFileURL(entry).href);
const llama = await getLlama({gpu: "vulkan", build: "never", logLevel: LlamaLogLevel[process.env.LLAMA_LOG ?? "error"]});
const devices = await llama.getGpuDeviceNames();
if (llama.gpu !== "vulkan" || devices.length === 0) throw new Error("llama.cpp found no Vulkan device");

// As in `src/bin/smollm2.rs`.
const PROMPT = [504, 3575, 282, 4649, 314];
const ANSWER = [7042, 30, 198, 198, 504, 2988, 314, 42];
const tokens = (count) => Array.from({length: count}, (_, i) => 100 + (37 * i) % 4000);
const CASES = {
    "smollm2_prefill/128": (sequence) => prefill(sequence, 128),
    "smollm2_prefill/512": (sequence) => prefill(sequence, 512),
    "smollm2_decode/64": (sequence) => decode(sequence, 64),
};

const begun = performance.now();
const loaded = await llama.loadModel({modelPath: path.resolve(model), gpuLayers: "max", ignoreMemorySafetyChecks: true});
const context = await loaded.createContext({contextSize: 1024, batchSize: 512, ignoreMemorySafetyChecks: true});
const loading = performance.now() - begun;
const sequence = context.getSequence();
const {version} = (await import(pathToFileURL(path.join(path.dirname(entry), "../package.json")).href, {with: {type: "json"}})).default;
console.log(`ready llama.cpp ${llama.llamaCppRelease?.release ?? ""} of node-llama-cpp ${version}, Vulkan on ${devices.join(", ")}`);

// All tokens, and the logits of the last one.
async function prefill(sequence, count) {
    await sequence.clearHistory();
    const all = tokens(count).map((token, i) => (i + 1 < count ? token : [token, {generateNext: {token: true}}]));
    const started = performance.now();
    await sequence.controlledEvaluate(all);
    return performance.now() - started;
}

// So many tokens, one after the other, after a short prompt that does not count.
async function decode(sequence, count) {
    await sequence.clearHistory();
    const generated = sequence.evaluate(PROMPT, {temperature: 0, yieldEogToken: true});
    await generated.next();
    const started = performance.now();
    for (let i = 0; i < count; i++) await generated.next();
    const took = performance.now() - started;
    await generated.return();
    return took;
}

async function answer() {
    await sequence.clearHistory();
    const found = [];
    for await (const token of sequence.evaluate(PROMPT, {temperature: 0, yieldEogToken: true})) {
        found.push(Number(token));
        if (found.length === ANSWER.length) break;
    }
    return found;
}

for await (const line of createInterface({input: process.stdin})) {
    const [name, count] = line.split(" ");
    if (CASES[name] === undefined) {
        console.log("unknown");
    } else if (Number(count) === 0) {
        const started = performance.now();
        const found = await answer();
        const first = loading + performance.now() - started;
        console.log(JSON.stringify(found) === JSON.stringify(ANSWER) ? first : `wrong: ${found}`);
    } else {
        let sum = 0;
        for (let i = 0; i < Number(count); i++) sum += await CASES[name](sequence);
        console.log(sum / Number(count));
    }
}
process.exit(0);
