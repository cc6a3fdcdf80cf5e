// node tasks.mjs TASK BASE_URL MODEL: one task of OpenAI's own client for Node, and what came of it as JSON.
import OpenAI from "openai";
import { zodFunction, zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";

const [task, baseURL, model] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey: "anything", maxRetries: 0 });
const City = z.object({ city: z.string(), people: z.number().int() });
const asked = (content) => ({ model, messages: [{ role: "user", content }] });

function weatherTool(called) {
  return zodFunction({
    name: "weather",
    parameters: z.object({ city: z.string() }),
    function: ({ city }) => {
      called.push(city);
      return `sunny in ${city}`;
    },
  });
}

const tasks = {
  async text() {
    const answer = await client.chat.completions.create(asked("Hello"));
    return { text: answer.choices[0].message.content, usage: answer.usage };
  },

  async stream() {
    const stream = await client.chat.completions.create({
      ...asked("unicode words 30"),
      stream: true,
      stream_options: { include_usage: true },
    });
    let text = "";
    let usage = null;
    for await (const chunk of stream) {
      text += chunk.choices[0]?.delta?.content ?? "";
      usage = chunk.usage ?? usage;
    }
    return { text, usage };
  },

  async loop() {
    const called = [];
    const runner = client.chat.completions.runTools({ ...asked("loop 3 city=Paris"), tools: [weatherTool(called)] });
    return { called, text: await runner.finalContent() };
  },

  async streamedLoop() {
    const called = [];
    const runner = client.chat.completions.runTools({
      ...asked("loop 3 city=Paris"),
      stream: true,
      tools: [weatherTool(called)],
    });
    let text = "";
    for await (const chunk of runner) text += chunk.choices[0]?.delta?.content ?? "";
    return { called, text };
  },

  async structured() {
    const answer = await client.chat.completions.parse({
      ...asked("city=Lima people=10000000"),
      response_format: zodResponseFormat(City, "city"),
    });
    return answer.choices[0].message.parsed;
  },

  async streamedStructured() {
    const stream = client.chat.completions.stream({
      ...asked("city=Lima people=10000000"),
      response_format: zodResponseFormat(City, "city"),
    });
    const answer = await stream.finalChatCompletion();
    return answer.choices[0].message.parsed;
  },

  async error() {
    try {
      await client.chat.completions.create({ ...asked("Hello"), model: "no-such-model" });
    } catch (error) {
      const { status, code, requestID } = error;
      return { name: error.constructor.name, status, code, requestID };
    }
  },

  async abort() {
    const stream = await client.chat.completions.create({ ...asked("words 5000"), stream: true });
    for await (const chunk of stream) {
      if (chunk.choices[0]?.delta?.content) break; // leaving the loop ends the request
    }
    return { aborted: stream.controller.signal.aborted };
  },
};

console.log(JSON.stringify(await tasks[task]()));
