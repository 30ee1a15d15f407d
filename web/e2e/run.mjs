// Drives the console in a real browser against a running server, and says what is missing.
//
//   node web/e2e/run.mjs BASE_URL USER PASSWORD OUTDIR [--expect ENDPOINT=RISK,…] [--register] [--new-password P]
//                       [--finding ENDPOINT=CHECK,…] [--forms [--smtp HOST:PORT] [--webhook URL]]
//
// It signs in (setting a new password when the server asks for one), walks every page, checks that the expected
// exposures are shown with their risk kind, changes language and theme, and leaves screenshots in OUTDIR. It changes
// nothing on the server unless --register is given, which registers the first expected exposure from its row, or
// --forms, which fills every form and presses every button (forms.mjs; needs redis-server and an administrator). Any
// error on the browser's console, a policy violation included, is a failure. The last line says `ok` or names what is
// missing; exit 1 then.
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { chromium } from 'playwright-core'
import { forms } from './forms.mjs'

const args = process.argv.slice(2)
const option = (name) => {
  const at = args.indexOf(name)
  return at < 0 ? undefined : args.splice(at, 2)[1]
}
const flag = (name) => {
  const at = args.indexOf(name)
  if (at >= 0) args.splice(at, 1)
  return at >= 0
}
const expected = (option('--expect') ?? '').split(',').filter(Boolean).map((word) => {
  const at = word.lastIndexOf('=')
  return { endpoint: word.slice(0, at), risk: word.slice(at + 1) }
})
const proved = (option('--finding') ?? '').split(',').filter(Boolean).map((word) => {
  const at = word.lastIndexOf('=')
  return { endpoint: word.slice(0, at), check: word.slice(at + 1) }
})
const newPassword = option('--new-password')
const register = flag('--register')
const [smtp, webhook] = [option('--smtp'), option('--webhook')]
const fill = flag('--forms')
const [base, user, password, out] = args
if (!out || args.length > 4) {
  console.error('usage: run.mjs BASE_URL USER PASSWORD OUTDIR [--expect ENDPOINT=RISK,…] [--register] [--new-password P] [--finding ENDPOINT=CHECK,…] [--forms [--smtp HOST:PORT] [--webhook URL]]')
  process.exit(2)
}
mkdirSync(out, { recursive: true })

const missing = []
/** Runs one check; a failure is noted by name and does not stop the walk. */
async function check(name, act) {
  try {
    await act()
    console.log(`ok       ${name}`)
  } catch (error) {
    missing.push(name)
    console.log(`MISSING  ${name}: ${String(error.message).split('\n')[0]}`)
    await page.screenshot({ path: join(out, `failed-${missing.length}.png`) }).catch(() => undefined)
  }
}

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-gpu', '--disable-background-networking', '--disable-component-update', '--disable-sync', '--no-first-run'],
})
const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, locale: 'zh-CN', colorScheme: 'light' })
const page = await context.newPage()
page.setDefaultTimeout(15_000)

const complaints = []
page.on('pageerror', (error) => complaints.push(`page error: ${error.message}`))
page.on('console', (message) => {
  if (message.type() !== 'error') return
  // Asking who is signed in is answered 401 before signing in; Chromium reports that as an error of its own.
  if (message.location().url.endsWith('/api/v1/session') && message.text().includes('401')) return
  complaints.push(`console: ${message.text()} (${message.location().url})`)
})
page.on('request', (request) => {
  if (!request.url().startsWith(base.replace(/\/$/, '')) && !request.url().startsWith('data:')) complaints.push(`foreign request: ${request.url()}`)
})

const at = (path) => new URL(path, base).href
const shot = (name) => page.screenshot({ path: join(out, `${name}.png`) })
/** Opens a page and waits until it has its content instead of placeholders. */
async function open(path, name) {
  await page.goto(at(path))
  await page.waitForSelector(`[data-page="${name}"]`)
  await page.waitForFunction(() => !document.querySelector('.bone, .el-skeleton'))
  // Charts and fonts settle.
  await page.waitForTimeout(350)
}
async function language(code) {
  await page.click(`[data-lang="${code}"]`)
  await page.waitForSelector(`html[lang="${code}"]`)
}
async function theme(dark) {
  const now = await page.evaluate(() => document.documentElement.classList.contains('dark'))
  if (now !== dark) await page.click('[data-theme-toggle]')
  await page.waitForFunction((want) => document.documentElement.classList.contains('dark') === want, dark)
}

let inside = false
await check('sign in, and come back to the page that was asked for', async () => {
  await page.goto(at('/hosts?liveness=online'))
  await page.waitForURL(/\/sign-in\?next=/)
  await shot('sign-in')
  await page.fill('input[name=name]', user)
  await page.fill('input[name=password]', password)
  await page.click('form button[type=submit]')
  await page.waitForSelector('[data-page=hosts], input[name=current]')
  if (await page.$('input[name=current]')) {
    if (!newPassword) throw new Error('the server asks for a new password: pass --new-password')
    await page.fill('input[name=current]', password)
    await page.fill('input[name=new]', newPassword)
    await page.fill('input[name=again]', newPassword)
    await shot('new-password')
    await page.click('form button[type=submit]')
  }
  await page.waitForSelector('[data-page=hosts]')
  if (!page.url().endsWith('/hosts?liveness=online')) throw new Error(`ended at ${page.url()}`)
  inside = true
})
if (!inside) {
  await browser.close()
  console.log(`missing: ${missing.join('; ')}`)
  process.exit(1)
}

await check('the live indicator says that updates flow', () => page.waitForSelector('[data-live].live'))

const PAGES = [
  ['/', 'dashboard'],
  ['/exposures', 'exposures'],
  ['/exposures?group=1', 'exposures'],
  ['/exposures?phase=any&disposition=registered,accepted,false-positive', 'exposures'],
  ['/findings', 'findings'],
  ['/findings?phase=any', 'findings'],
  ['/hosts', 'hosts'],
  ['/panels', 'panels'],
  ['/panels?tab=known', 'panels'],
  ['/queue', 'queue'],
  ['/queue?tab=noted', 'queue'],
  ['/approvals', 'approvals'],
  ['/approvals?tab=waiting', 'approvals'],
  ['/approvals?tab=others', 'approvals'],
  ['/events', 'events'],
  ['/alerts', 'alerts'],
  ['/alerts?tab=notifications', 'alerts'],
  ['/tasks', 'tasks'],
  ['/tasks?show=once', 'tasks'],
  ['/jobs', 'jobs'],
  ['/jobs?tab=jobs', 'jobs'],
  ['/assets', 'assets'],
  ['/assets?tab=exclusions', 'assets'],
  ['/assets?tab=blackouts', 'assets'],
  ['/settings', 'settings'],
  ['/settings?tab=alerts', 'settings'],
  ['/settings?tab=pace', 'settings'],
  ['/users', 'users'],
  ['/users?tab=tokens', 'users'],
  ['/audit', 'audit'],
  ['/system', 'system'],
]
for (const [path, name] of PAGES) {
  await check(`page ${path}`, async () => {
    await open(path, name)
    const error = await page.$('.error[role=alert]')
    if (error) throw new Error(`it shows: ${(await error.innerText()).replaceAll('\n', ' ')}`)
    // A key that has no message is shown as itself, such as `nav.exposures`.
    const raw = await page.evaluate(() => /(?:^|\s)(nav|col|table|action|risk|severity|phase|task\w*|alert\w*|settings|receiver|users|tokens|system)\.[a-z-]+[.\w-]*(?:\s|$)/i.exec(document.body.innerText)?.[0])
    if (raw) throw new Error(`it shows the key ${raw}`)
  })
}

for (const { endpoint, risk } of expected) {
  await check(`exposure ${endpoint} shown as ${risk}`, async () => {
    const [, ip, port] = /^\[?([^\]]+?)\]?:(\d+)\/(?:tcp|udp)$/.exec(endpoint)
    await open(`/exposures?search=${encodeURIComponent(ip)}`, 'exposures')
    const row = page.locator('tr', { has: page.locator(`[data-endpoint="${endpoint}"]`) })
    await row.first().waitFor()
    await row.locator(`[data-risk="${risk}"]`).waitFor({ timeout: 2_000 })
    await row.locator('[data-phase=open]').waitFor({ timeout: 2_000 })
    await row.locator(`[data-endpoint="${endpoint}"]`).click()
    await page.waitForURL(new RegExp(`/endpoints/.+/${port}$`))
    await page.waitForSelector('[data-page=endpoint] .timeline li')
    if (risk !== 'exposed-port') await page.waitForSelector('[data-advice]')
  })
}

for (const { endpoint, check: id } of proved) {
  await check(`finding ${id} of ${endpoint}, with proof and advice`, async () => {
    const [, ip, port, proto] = /^\[?([^\]]+?)\]?:(\d+)\/(tcp|udp)$/.exec(endpoint)
    await open(`/findings?check=${id}`, 'findings')
    const row = page.locator('tr', { has: page.locator(`[data-endpoint="${endpoint}"]`) }).first()
    await row.locator('.chevron').click()
    const detail = page.locator(`[data-finding="${id}"]`).first()
    await detail.locator('[data-finding-advice]').waitFor()
    await shot('findings-detail')
    await open(`/endpoints/${ip}/${proto}/${port}`, 'endpoint')
    for (const [code, chinese] of [['zh-CN', true], ['en', false]]) {
      await language(code)
      const text = await page.locator('[data-finding-card] [data-finding-advice]').first().innerText()
      if (/[\u4e00-\u9fff]/.test(text) !== chinese) throw new Error(`in ${code} the advice is: ${text}`)
      await shot(`finding-endpoint-${code}`)
    }
    await language('zh-CN')
  })
}

await check('keys: `g e` goes to exposures, `/` finds the search field', async () => {
  await open('/', 'dashboard')
  await page.keyboard.press('g')
  await page.keyboard.press('e')
  await page.waitForSelector('[data-page=exposures]')
  await page.keyboard.press('/')
  await page.waitForFunction(() => !!document.activeElement?.closest('[data-search]'))
})

await check('filters live in the address, and the export keeps them', async () => {
  await open('/exposures', 'exposures')
  await page.fill('[data-search] input', '127.0.0.1')
  await page.waitForURL(/search=127\.0\.0\.1/)
  await page.reload()
  await page.waitForSelector('[data-page=exposures]')
  if ((await page.inputValue('[data-search] input')) !== '127.0.0.1') throw new Error('the reload lost the search')
  const href = await page.evaluate(() => document.querySelector('[data-export=csv]')?.getAttribute('href') ?? '')
  if (href && !href.includes('search=127.0.0.1')) throw new Error(`the export asks ${href}`)
})

await check('bad input is shown at its field', async () => {
  await open('/assets', 'assets')
  const add = page.locator('[data-act=add]')
  if (!(await add.count())) return
  await add.first().click()
  await page.fill('[data-asset-form] input[name=range]', '10.0.0.0/33')
  await page.fill('[data-asset-form] input[name=name]', 'e2e')
  const refused = page.waitForResponse((r) => r.url().includes('/assets') && r.request().method() === 'POST')
  await page.click('.el-dialog [data-save]')
  const status = (await refused).status()
  const text = await page.locator('[data-asset-form] .el-form-item__error').first().innerText()
  if (!text.includes('10.0.0.0/33')) throw new Error(`the field says: ${text}`)
  // The refusal just provoked is reported by Chromium as well.
  const own = complaints.findIndex((c) => c.includes(String(status)) && c.includes('/assets'))
  if (own >= 0) complaints.splice(own, 1)
  await shot('asset-bad-input')
})

if (register && expected.length) {
  const { endpoint } = expected[0]
  await check(`register ${endpoint} from its row`, async () => {
    const ip = /^\[?([^\]]+?)\]?:\d+\//.exec(endpoint)[1]
    await open(`/exposures?search=${encodeURIComponent(ip)}`, 'exposures')
    const row = page.locator('tr', { has: page.locator(`[data-endpoint="${endpoint}"]`) })
    await row.locator('[data-act=register]').click()
    await page.waitForSelector('[data-disposition-form]')
    await page.fill('[data-disposition-form] textarea', 'e2e')
    await shot('register')
    await page.click('[data-disposition-form] [data-save]')
    await row.locator('[data-disposition=registered]').waitFor()
  })
}

if (fill) await forms({ page, check, open, shot, language, complaints, base }, { smtp, webhook })

for (const code of ['zh-CN', 'en']) {
  for (const dark of [false, true]) {
    const suffix = `${code}-${dark ? 'dark' : 'light'}`
    await check(`screenshots ${suffix}`, async () => {
      await open('/', 'dashboard')
      await language(code)
      await theme(dark)
      await page.mouse.move(720, 880)
      for (const [path, name] of [['/', 'dashboard'], ['/exposures', 'exposures'], ['/findings', 'findings'], ['/panels', 'panels'], ['/tasks', 'tasks'], ['/assets', 'assets']]) {
        await open(path, name)
        await shot(`${name}-${suffix}`)
      }
      const first = expected[0] && /^\[?([^\]]+?)\]?:(\d+)\/(tcp|udp)$/.exec(expected[0].endpoint)
      const link = first ? `/endpoints/${first[1]}/${first[3]}/${first[2]}` : await page.goto(at('/exposures?phase=any')).then(() => page.waitForSelector('[data-endpoint]', { timeout: 3_000 }).then((a) => a.getAttribute('href')).catch(() => undefined))
      if (link) {
        await open(link, 'endpoint')
        await shot(`endpoint-${suffix}`)
      }
    })
  }
}

await check('sign out leads to the door', async () => {
  await page.click('button.user')
  await page.locator('.el-dropdown-menu__item').last().click()
  await page.waitForURL(/\/sign-in/)
})

await browser.close()
for (const complaint of complaints) console.log(`COMPLAINT ${complaint}`)
if (complaints.length) missing.push(`a clean browser console (${complaints.length} complaints)`)
if (missing.length) {
  console.log(`missing: ${missing.join('; ')}`)
  process.exit(1)
}
console.log(`ok: ${PAGES.length} pages, ${expected.length} expected exposures, screenshots in ${out}`)
