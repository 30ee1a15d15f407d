// Opens pages of the console in a real browser and says which words are missing on them.
//
//   node web/e2e/endpoints.mjs BASE_URL USER PASSWORD OUTDIR [--new-password P] NAME=PATH=WORD|WORD… …
//
// Each page is opened in English and in Chinese; the words have to stand on the English one, and a screenshot of each is left in
// OUTDIR as NAME-en.png and NAME-zh-CN.png. It changes nothing but a password that the server wants changed. The last line says
// `ok` or names what is missing; exit 1 then. Walking the whole console is run.mjs's part.
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { chromium } from 'playwright-core'

const args = process.argv.slice(2)
const at = args.indexOf('--new-password')
const newPassword = at < 0 ? undefined : args.splice(at, 2)[1]
const [base, user, password, out, ...pages] = args
if (!out || pages.length === 0) {
  console.error('usage: endpoints.mjs BASE_URL USER PASSWORD OUTDIR [--new-password P] NAME=PATH=WORD|WORD… …')
  process.exit(2)
}
mkdirSync(out, { recursive: true })

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-gpu', '--disable-background-networking', '--disable-component-update', '--disable-sync', '--no-first-run'],
})
const page = await (await browser.newContext({ viewport: { width: 1440, height: 900 }, locale: 'en', colorScheme: 'light' })).newPage()
page.setDefaultTimeout(15_000)
const missing = []

await page.goto(new URL('/sign-in', base).href)
await page.fill('input[name=name]', user)
await page.fill('input[name=password]', password)
await page.click('form button[type=submit]')
await page.waitForSelector('[data-page=dashboard], input[name=current]')
if (await page.$('input[name=current]')) {
  await page.fill('input[name=current]', password)
  await page.fill('input[name=new]', newPassword)
  await page.fill('input[name=again]', newPassword)
  await page.click('form button[type=submit]')
  await page.waitForSelector('[data-page=dashboard]')
}

for (const word of pages) {
  const [name, path, ...rest] = word.split('=')
  const words = rest.join('=').split('|').filter(Boolean)
  for (const code of ['zh-CN', 'en']) {
    await page.goto(new URL(decodeURIComponent(path), base).href)
    await page.waitForSelector('[data-page]')
    await page.click(`[data-lang="${code}"]`)
    await page.waitForSelector(`html[lang="${code}"]`)
    await page.waitForFunction(() => !document.querySelector('.bone, .el-skeleton'))
    await page.waitForTimeout(350)
    await page.screenshot({ path: join(out, `${name}-${code}.png`) })
  }
  const text = (await page.innerText('body')).toLowerCase()
  for (const wanted of words) {
    if (!text.includes(wanted.toLowerCase())) missing.push(`${name}: ${wanted}`)
  }
  console.log(`seen     ${name}`)
}
await browser.close()
console.log(missing.length === 0 ? `ok: ${pages.length} pages` : `missing: ${missing.join('; ')}`)
process.exit(missing.length === 0 ? 0 : 1)
