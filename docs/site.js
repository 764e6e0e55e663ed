// Menu, light and dark, and search (pagefind's index, fetched when it is first asked for).
const html = document.documentElement
const $ = id => document.getElementById(id)

$('menu').onclick = () => {
  $('menu').setAttribute('aria-expanded', html.classList.toggle('menu'))
}
$('theme').onclick = () => {
  const system = matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light'
  const now = html.dataset.theme || system
  localStorage.setItem('theme', html.dataset.theme = now == 'dark' ? 'light' : 'dark')
}

const common = new Set((
  'a an and are as at be by can do does for from how i in is it me my of on or that the there this '
  + 'to use using was what when where which who why will with you your'
).split(' '))
const [box, state, list] = $('hits').children
let pagefind

async function load() {
  const p = await import(new URL(html.dataset.root + '/pagefind/pagefind.js', location))
  await p.options({excerptLength: 22})
  return p
}
function openSearch() {
  $('search').showModal()
  box.select()
  pagefind ??= load()
  pagefind.catch(() => {
    state.textContent = 'Search needs a web server: python -m http.server -d _docs'
  })
}

function terms(text) {
  const all = text.toLowerCase().match(/[\p{L}\p{N}_.-]+/gu) || []
  const rare = all.filter(word => !common.has(word))
  return rare.length ? rare : all
}
// the index shortens an unknown word until something begins so: half of a word must be there
function isNear(page, words) {
  const text = (page.meta.title + page.excerpt.match(/<mark>.*?<\/mark>/g)).toLowerCase()
  return words.some(word => text.includes(word.slice(0, Math.max(2, word.length / 2))))
}
function safe(text) {
  return Object.assign(document.createElement('i'), {textContent: text}).innerHTML
}
function link(hit, title, kind) {
  const words = `<b>${safe(title)}</b><span>${hit.excerpt}</span>`
  return `<a class="${kind}" href="${hit.url}">${words}</a>`
}
function entry(page) {
  const parts = page.sub_results.filter(s => s.anchor).slice(0, 3)
  return link(page, page.meta.title, 'page') + parts.map(s => link(s, s.title, 'part')).join('')
}
function summary(words, pages) {
  if (!words.length) return ''
  if (!pages.length) return 'Nothing found'
  return pages.length > 1 ? `The best ${pages.length} pages` : 'One page'
}
async function search() {
  const words = terms(box.value)
  const hits = await (await pagefind).debouncedSearch(words.join(' '), {}, 200)
  if (!hits) return  // typed on since
  const best = await Promise.all(hits.results.slice(0, 12).map(r => r.data()))
  const pages = best.filter(page => isNear(page, words))
  state.textContent = summary(words, pages)
  list.innerHTML = pages.map(entry).join('')
}

box.oninput = search
list.onclick = () => $('search').close()
$('search').onclick = e => { if (e.target == $('search')) $('search').close() }
$('search').onkeydown = e => {
  const step = {ArrowDown: 1, ArrowUp: -1}[e.key]
  const stops = [box, ...list.children]
  const at = stops.indexOf(document.activeElement)
  if (step) {
    e.preventDefault()
    stops[Math.min(Math.max(at + step, 0), stops.length - 1)].focus()
  }
  if (e.key == 'Enter' && !at) stops[1]?.click()
}
$('find').onclick = openSearch
addEventListener('keydown', e => {
  if (e.key != '/' || /INPUT|TEXTAREA/.test(document.activeElement.tagName)) return
  e.preventDefault()
  openSearch()
})
