// One example after the other; every key has a button. Nothing is fetched but the pictures and the labels of this service.
"use strict";
(() => {
  const { model, examples, labels } = JSON.parse(document.getElementById("data").textContent);
  const byId = (id) => document.getElementById(id);
  const keys = labels.length <= 10 && labels.every((label) => /^[0-9]$/.test(label))
    ? Object.fromEntries(labels.map((label) => [label, label]))
    : Object.fromEntries(labels.slice(0, 31).map((label, index) => ["1234567890abcdefghijklmnopqrstvwyz"[index], label]));
  const keyOf = Object.fromEntries(Object.entries(keys).map(([key, label]) => [label, key]));
  const history = [];
  let index = 0;
  let isBusy = false;

  const show = () => {
    const example = examples[index];
    byId("left").textContent = String(examples.length - index);
    byId("work").hidden = !example;
    byId("done").hidden = Boolean(example);
    if (!example) return;
    byId("picture").src = example.picture;
    byId("answer").textContent = example.answer;
    byId("confidence").textContent = `${Math.round(example.confidence * 100)} %`;
    byId("origin").textContent = `${example.slice}, ${example.device}, ${example.captured}`;
    for (const button of byId("labels").children) button.classList.toggle("answer", button.dataset.label === example.answer);
  };

  const send = async (example, label) => {
    const answer = await fetch(example.address, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(label),
    });
    if (!answer.ok) throw new Error(`${answer.status}: ${(await answer.json()).detail}`);
  };

  const act = async (work) => {
    if (isBusy) return;
    isBusy = true;
    try {
      await work();
      show();
    } catch (error) {
      byId("message").textContent = `not saved: ${error.message}`;
    } finally {
      isBusy = false;
    }
  };

  const give = (state, label) => act(async () => {
    const example = examples[index];
    if (!example) return;
    await send(example, { state, label });
    history.push(index);
    index += 1;
    byId("message").textContent = label === null ? "nobody can tell" : `labelled ${label}`;
  });
  const skip = () => act(async () => { if (index < examples.length) index += 1; });
  const undo = () => act(async () => {
    const last = history.pop();
    if (last === undefined) return;
    await send(examples[last], { state: "waiting", label: null });
    index = last;
    byId("message").textContent = "taken back";
  });

  for (const label of labels) {
    const button = document.createElement("button");
    button.type = "button";
    button.dataset.label = label;
    button.append(label);
    if (keyOf[label] !== undefined && keyOf[label] !== label) {
      const key = document.createElement("kbd");
      key.append(keyOf[label]);
      button.append(key);
    }
    button.addEventListener("click", () => give("labelled", label));
    byId("labels").append(button);
  }
  byId("unusable").addEventListener("click", () => give("unusable", null));
  byId("skip").addEventListener("click", skip);
  byId("undo").addEventListener("click", undo);
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const example = examples[index];
    if (event.key === "Enter" && example) give("labelled", example.answer);
    else if (event.key === "x") give("unusable", null);
    else if (event.key === "u") undo();
    else if (event.key === " ") skip();
    else if (keys[event.key] !== undefined && example) give("labelled", keys[event.key]);
    else return;
    event.preventDefault();
  });
  show();
})();
