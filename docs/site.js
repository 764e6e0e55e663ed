// Menu, light and dark, and search (pagefind's index, fetched when it is first asked for).
const html = document.documentElement, $ = id => document.getElementById(id)

$('menu').onclick = () => $('menu').setAttribute('aria-expanded', html.classList.toggle('menu'))
$('theme').onclick = () => {
  const dark = html.dataset.theme ? html.dataset.theme == 'dark' : matchMedia('(prefers-color-scheme: dark)').matches
  localStorage.setItem('theme', html.dataset.theme = dark ? 'light' : 'dark')
}

const common = new Set('a an and are as at be by can do does for from how i in is it me my of on or that the there this to use using was what when where which who why will with you your'.split(' '))
const safe = text => Object.assign(document.createElement('i'), {textContent: text}).innerHTML
const link = (hit, title, kind) => `<a class="${kind}" href="${hit.url}"><b>${safe(title)}</b><span>${hit.excerpt}</span></a>`

const [box, told, list] = $('hits').children
let found
function search() {
  $('search').showModal()
  box.select()
  found ??= import(new URL(html.dataset.root + '/pagefind/pagefind.js', location)).then(async p => { await p.options({excerptLength: 22}); return p })
  found.catch(() => told.textContent = 'Search needs a web server: python -m http.server -d _docs')
}
async function ask() {
  const said = box.value.toLowerCase().match(/[\p{L}\p{N}_.-]+/gu) || [], rare = said.filter(w => !common.has(w)), words = rare.length ? rare : said
  const hits = await (await found).debouncedSearch(words.join(' '), {}, 200)
  if (!hits) return  // asked again since
  // the index shortens an unknown word until something begins so: a page counts if half of a word is there
  const near = p => { const text = (p.meta.title + p.excerpt.match(/<mark>.*?<\/mark>/g)).toLowerCase(); return words.some(w => text.includes(w.slice(0, Math.max(2, w.length / 2)))) }
  const pages = (await Promise.all(hits.results.slice(0, 12).map(r => r.data()))).filter(near)
  told.textContent = words.length ? !pages.length ? 'Nothing found' : pages[1] ? `The best ${pages.length} pages` : 'One page' : ''
  list.innerHTML = pages.map(p => link(p, p.meta.title, 'page') + p.sub_results.filter(s => s.anchor).slice(0, 3).map(s => link(s, s.title, 'part')).join('')).join('')
}
box.oninput = ask
list.onclick = () => $('search').close()
$('search').onkeydown = e => {
  const step = {ArrowDown: 1, ArrowUp: -1}[e.key], stops = [box, ...list.children], at = stops.indexOf(document.activeElement)
  if (step) { e.preventDefault(); stops[Math.min(Math.max(at + step, 0), stops.length - 1)].focus() }
  if (e.key == 'Enter' && !at) stops[1]?.click()
}
$('find').onclick = search
addEventListener('keydown', e => {
  if (e.key == '/' && !/INPUT|TEXTAREA/.test(document.activeElement.tagName)) { e.preventDefault(); search() }
})
$('search').onclick = e => { if (e.target == $('search')) $('search').close() }
