// A file that somebody chooses is put into the text field beside it, where it can be changed before
// it is sent. Without this script the text is pasted.
"use strict";

for (const label of document.querySelectorAll("[data-file-for]")) {
  label.hidden = false;
  label.querySelector("input").addEventListener("change", async (event) => {
    const [file] = event.target.files;
    if (file) document.getElementById(label.dataset.fileFor).value = await file.text();
  });
}
