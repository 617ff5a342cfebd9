// The search takes a word with a dash before it as one that pages must not have: without the dashes
// it finds --speed-dl.
document.addEventListener(
  "input",
  ({ target }) => {
    if (target.matches("[data-md-component=search-query]"))
      target.value = target.value.replace(/(^|\s)-+/g, "$1")
  },
  true // before the search's own listener
)
