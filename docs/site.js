// Menu, light and dark, and search (pagefind's index, fetched when it is first asked for).
const html = document.documentElement, $ = id => document.getElementById(id)

$('menu').onclick = () => $('menu').setAttribute('aria-expanded', html.classList.toggle('menu'))
$('theme').onclick = () => {
  const dark = html.dataset.theme ? html.dataset.theme == 'dark' : matchMedia('(prefers-color-scheme: dark)').matches
  localStorage.setItem('theme', html.dataset.theme = dark ? 'light' : 'dark')
}

let found
async function search() {
  $('search').showModal()
  if (!found) {
    const at = new URL(html.dataset.root + '/pagefind/', location)
    const load = (tag, set) => new Promise((done, fail) => document.head.append(Object.assign(document.createElement(tag), set, {onload: done, onerror: fail})))
    found = Promise.all([load('link', {rel: 'stylesheet', href: at + 'pagefind-ui.css'}), load('script', {src: at + 'pagefind-ui.js'})])
      .then(() => new PagefindUI({element: '#hits', bundlePath: at.pathname, showSubResults: true, showImages: false, resetStyles: false}))
      .catch(() => $('hits').textContent = 'Search needs a web server: python -m http.server -d _docs')
  }
  await found
  $('hits').querySelector('input')?.focus()
}
$('find').onclick = search
addEventListener('keydown', e => {
  if (e.key == '/' && !/INPUT|TEXTAREA/.test(document.activeElement.tagName)) { e.preventDefault(); search() }
})
$('search').onclick = e => { if (e.target == $('search')) $('search').close() }
