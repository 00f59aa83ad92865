// All entries are one value in Redis, separated by commas: read from a slave, written to the master.
const list = document.getElementById("messages");
const trouble = document.getElementById("trouble");
const form = document.querySelector("form");
let messages = [];

async function ask(query) {
  const answer = await fetch("guestbook.php?" + new URLSearchParams({ key: "messages", ...query }));
  const body = await answer.json();
  trouble.textContent = body.error || "";
  if (body.error) throw new Error(body.error);
  return body;
}

function show() {
  list.replaceChildren(...messages.map((message) => {
    const line = document.createElement("div");
    line.textContent = message;
    return line;
  }));
}

async function read() {
  messages = (await ask({ cmd: "get" })).data.split(",");
  show();
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const entry = form.msg.value;
  form.msg.value = "";
  messages.push(entry);
  show();
  await ask({ cmd: "set", value: messages.join(",") });
});

read();
