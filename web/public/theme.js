// Before the first paint, so that a dark console never flashes white. A file of its own because the policy forbids inline scripts.
(function () {
  var theme = null
  try {
    theme = localStorage.getItem('portreeve.theme')
  } catch (e) {}
  var dark = theme === 'dark' || (theme !== 'light' && matchMedia('(prefers-color-scheme: dark)').matches)
  document.documentElement.classList.toggle('dark', dark)
})()
