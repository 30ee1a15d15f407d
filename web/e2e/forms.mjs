// Fills every form of the console and presses every button that changes something, against a real server.
//
// It makes its own world: an asset over a few loopback addresses, redis servers there, a webhook that really listens.
// Mail goes to the sink named by --smtp, when there is one. What it makes it also removes, as a person would.
// It wants a server that has not seen its addresses before: what was known already alerts nobody.
// Run by run.mjs under --forms; the labels it looks for are those of English, the marks (`data-…`) of any language.
import { spawn } from 'node:child_process'
import { createServer } from 'node:http'
import { connect } from 'node:net'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** Loopback addresses that nothing else uses: the asset, and who lives there. */
const RANGE = '127.77.0.0/28'
const [HOME, LATER] = ['127.77.0.5', '127.77.0.6']
/** Odd on purpose: only what answers can tell that this is redis. */
const PORT = 16377

/** A redis of our own, without persistence; resolves when it takes connections. */
async function redis(ip, port) {
  const dir = mkdtempSync(join(tmpdir(), 'portreeve-e2e-'))
  const child = spawn('redis-server', ['--port', String(port), '--bind', ip, '--save', '', '--dir', dir, '--protected-mode', 'no'], { stdio: 'ignore' })
  const failed = new Promise((_, reject) => child.on('error', reject))
  const up = () =>
    new Promise((resolve) => {
      const socket = connect(port, ip, () => (socket.destroy(), resolve(true)))
      socket.on('error', () => resolve(false))
    })
  for (let tries = 0; ; tries++) {
    if (await Promise.race([up(), failed])) break
    if (tries > 50) throw new Error(`redis does not listen at ${ip}:${port}`)
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
  return () => (child.kill(), rmSync(dir, { recursive: true, force: true }))
}

/** A webhook that remembers what it was sent and answers as told. */
async function hook() {
  const got = []
  const server = createServer((request, response) => {
    let body = ''
    request.on('data', (some) => (body += some))
    request.on('end', () => {
      got.push({ headers: request.headers, body })
      response.writeHead(hooked.status, { 'content-type': 'text/plain' }).end(hooked.status === 200 ? 'taken 4711' : 'the sink is full')
    })
  })
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  const hooked = { url: `http://127.0.0.1:${server.address().port}/hook`, got, status: 200, close: () => server.close() }
  return hooked
}

/** Lets a second person, grace, who may approve, do something in a browser of her own, and takes her away again. */
async function second(page, act) {
  const call = (method, path, body) =>
    page.evaluate(
      async ([method, path, body]) => {
        const headers = { 'content-type': 'application/json', 'x-portreeve-csrf': '1' }
        const reply = await fetch(`/api/v1${path}`, { method, headers, body: body && JSON.stringify(body) })
        return reply.status === 204 ? {} : await reply.json()
      },
      [method, path, body],
    )
  const grace = await call('POST', '/users', { name: 'grace', role: 'approver' })
  const context = await page.context().browser().newContext({ viewport: { width: 1440, height: 900 }, locale: 'en' })
  try {
    const other = await context.newPage()
    other.setDefaultTimeout(15_000)
    await other.goto(new URL('/sign-in', page.url()).href)
    await other.evaluate(async (first) => {
      const headers = { 'content-type': 'application/json', 'x-portreeve-csrf': '1' }
      const send = (method, path, body) => fetch(`/api/v1${path}`, { method, headers, body: JSON.stringify(body) })
      await send('POST', '/session', { name: 'grace', password: first })
      await send('PUT', '/session/password', { current: first, new: 'a pass phrase of her own' })
      await send('POST', '/session', { name: 'grace', password: 'a pass phrase of her own' })
    }, grace.initial_password)
    await act(other)
  } finally {
    await context.close()
    await call('DELETE', `/users/${grace.id}`)
  }
}

/** Everything; `walk` is what run.mjs shares: page, check, open, shot, language, complaints, base. */
export async function forms(walk, options) {
  const { page, check, open, shot, language, complaints, base } = walk
  const stops = []
  const dialog = page.locator('.el-dialog:visible')
  const save = () => dialog.locator('[data-save]').click()
  const gone = () => dialog.waitFor({ state: 'hidden' })
  const row = (text) => page.locator('tbody tr[data-row]', { hasText: text })
  const menu = (mark) => page.locator(`.el-dropdown-menu:visible ${mark}`).click()
  const choose = (scope, value) => scope.locator(`.el-radio-button:has(input[value="${value}"])`).click()
  const tab = (name) => page.click(`[data-tab="${name}"]`)
  const expectText = async (locator, text) => {
    await locator.filter({ hasText: text }).first().waitFor({ timeout: 20_000 }).catch(async () => {
      throw new Error(`expected ${text}, it says: ${(await locator.allInnerTexts()).join(' | ').slice(0, 300)}`)
    })
  }
  const yes = async () => {
    await page.locator('.el-message-box:visible .el-button--primary').click()
    await page.locator('.el-message-box').waitFor({ state: 'hidden' })
  }
  /** The answer of the change that `act` makes, which must have this status; a refusal provoked on purpose is no complaint. */
  async function answered(method, path, status, act) {
    const reply = page.waitForResponse((r) => r.request().method() === method && r.url().includes(path))
    await act()
    const answer = await reply
    if (answer.status() !== status) throw new Error(`${method} ${path} was answered ${answer.status()}: ${(await answer.text()).slice(0, 300)}`)
    if (status >= 400) {
      await page.waitForTimeout(100)
      const own = complaints.findIndex((c) => c.includes(String(status)) && c.includes(path))
      if (own >= 0) complaints.splice(own, 1)
    }
    return answer
  }
  const fieldError = (text) => expectText(dialog.locator('.el-form-item__error'), text)

  await open('/', 'dashboard')
  await language('en')
  try {
    stops.push(await redis(HOME, PORT))
    const hooked = await hook()
    stops.push(hooked.close)

    await check('asset: added, with objections at their fields, and edited', async () => {
      await open('/assets', 'assets')
      await page.locator('[data-act=add]').first().click()
      await dialog.waitFor()
      await answered('POST', '/assets', 422, save)
      await fieldError(/./)
      if ((await dialog.locator('.el-form-item__error').count()) < 2) throw new Error('range and name are both missing, only one is said')
      await shot('form-asset-empty')
      await page.fill('[data-asset-form] input[name=range]', RANGE)
      await page.fill('[data-asset-form] input[name=name]', 'forms')
      await page.fill('[data-asset-form] input[name=owner]', 'alice')
      await choose(dialog, 'none')
      await answered('POST', '/assets', 201, save)
      await gone()
      await row(RANGE).locator('[data-act=edit]').click()
      await page.fill('[data-asset-form] input[name=owner]', 'bob')
      await answered('PUT', '/assets/', 200, save)
      await gone()
      await expectText(row(RANGE), 'bob')
      await page.locator('[data-act=add]').first().click()
      await page.fill('[data-asset-form] input[name=range]', RANGE)
      await page.fill('[data-asset-form] input[name=name]', 'twice')
      await answered('POST', '/assets', 409, save)
      await dialog.locator('.error[role=alert], .el-form-item__error').first().waitFor()
      await shot('form-asset-twice')
      await page.keyboard.press('Escape')
      await gone()
    })

    await check('assets: CSV with an error is refused by line, mended it is applied', async () => {
      await open('/assets', 'assets')
      await page.locator('[data-act=import]').click()
      const head = 'range,name,owner,zone,weight,tags,observe_until,rate_pps,per_target_pps\n'
      await page.fill('textarea[name=csv]', `${head}127.88.0.0/30,good,alice,dmz,5,a;b,,,\n127.88.0.300,bad,,dmz,5,,,,\n127.88.0.4/30,zone,,nowhere,55,,,,\n`)
      await page.click('[data-preview]')
      await dialog.locator('[data-import=error]').waitFor()
      await expectText(dialog.locator('[data-import=error]'), '2')
      await expectText(dialog.locator('.preview .bad'), '127.88.0.300')
      await expectText(dialog.locator('.preview .bad'), 'nowhere')
      await shot('form-import-errors')
      if (await dialog.locator('[data-apply]').isEnabled()) throw new Error('a file with errors can be applied')
      await dialog.locator('.el-dialog__footer .el-button').first().click()
      await page.fill('textarea[name=csv]', `${head}127.88.0.0/30,good,alice,dmz,5,a;b,,,\n${RANGE},forms,carol,dmz,5,,,,\n`)
      await page.click('[data-preview]')
      await expectText(dialog.locator('[data-import=create]'), '1')
      await expectText(dialog.locator('[data-import=update]'), '1')
      await shot('form-import-preview')
      await answered('POST', '/assets/import?digest', 200, () => page.click('[data-apply]'))
      await gone()
      await expectText(row(RANGE), 'carol')
      await row('127.88.0.0/30').locator('[data-act=delete]').click()
      await answered('DELETE', '/assets/', 204, yes)
      await row('127.88.0.0/30').waitFor({ state: 'detached' })
    })

    await check('exclusion and blackout: added with objections, lifted', async () => {
      await open('/assets?tab=exclusions', 'assets')
      await page.locator('[data-act=add]').first().click()
      await page.fill('[data-quiet-form] input[name=range]', '127.77.0.14-127.77.0.2')
      await answered('POST', '/exclusions', 422, save)
      await fieldError('127.77.0.14-127.77.0.2')
      await page.fill('[data-quiet-form] input[name=range]', '127.77.0.14')
      await page.fill('[data-quiet-form] input[name=reason]', 'printer')
      await answered('POST', '/exclusions', 201, save)
      await gone()
      await row('127.77.0.14').locator('[data-act=delete]').click()
      await answered('DELETE', '/exclusions/', 204, yes)
      await row('127.77.0.14').waitFor({ state: 'detached' })
      await tab('blackouts')
      await page.locator('[data-act=add]').first().click()
      await page.fill('[data-quiet-form] input[name=range]', '127.77.0.13')
      await page.fill('[data-quiet-form] input[name=reason]', 'month end')
      for (const day of [1, 2, 3, 4, 5]) await dialog.locator(`.el-checkbox-button:has(input[value="${day}"])`).click()
      await answered('POST', '/blackouts', 422, save)
      await fieldError(/./)
      await shot('form-blackout-no-day')
      await choose(dialog, 'once')
      await answered('POST', '/blackouts', 422, save)
      await fieldError(/./)
      await shot('form-blackout-no-span')
      await choose(dialog, 'weekly')
      await dialog.locator('.el-checkbox-button:has(input[value="6"])').click()
      await answered('POST', '/blackouts', 201, save)
      await gone()
      await expectText(row('127.77.0.13'), 'Sat 08:00–18:00 UTC')
      await row('127.77.0.13').locator('[data-act=delete]').click()
      await answered('DELETE', '/blackouts/', 204, yes)
      await row('127.77.0.13').waitFor({ state: 'detached' })
    })

    const addReceiver = async (kind, fields) => {
      await page.locator('[data-act=add]').first().click()
      await dialog.waitFor()
      await choose(dialog, kind)
      await answered('POST', '/receivers', 422, save)
      await fieldError(/./)
      await shot(`form-receiver-${kind}-empty`)
      for (const [name, value] of Object.entries(fields)) await page.fill(`[data-receiver-form] [name="${name}"]`, value)
    }
    await check('receiver: a webhook is objected to, made, tested, edited; its answer is shown', async () => {
      await open('/settings', 'settings')
      await addReceiver('webhook', { name: 'forms hook', url: 'ftp://nowhere' })
      await answered('POST', '/receivers', 422, save)
      await fieldError('ftp://nowhere')
      await page.fill('[data-receiver-form] [name=url]', hooked.url)
      await page.fill('[data-receiver-form] [name=secret]', 'a-secret-of-the-forms')
      await page.fill('[data-receiver-form] [name=headers]', 'X-Team: soc')
      await answered('POST', '/receivers', 201, save)
      await gone()
      await row('forms hook').locator('[data-act=test]').click()
      await expectText(page.locator('[data-answer=ok]'), '200')
      if (!hooked.got.length) throw new Error('the webhook was never called')
      const { headers, body } = hooked.got[0]
      if (!headers['x-portreeve-signature'] || headers['x-team'] !== 'soc') throw new Error(`it was called with ${JSON.stringify(headers)}`)
      JSON.parse(body)
      await shot('form-receiver-taken')
      hooked.status = 503
      await row('forms hook').locator('[data-act=test]').click()
      await expectText(page.locator('[data-answer=bad]'), '503')
      await shot('form-receiver-refused')
      hooked.status = 200
      await row('forms hook').locator('[data-act=edit]').click()
      if (await page.inputValue('[data-receiver-form] [name=secret]')) throw new Error('the secret came back')
      await page.fill('[data-receiver-form] [name=url]', 'http://127.0.0.1:9/closed')
      await answered('PUT', '/receivers/', 200, save)
      await gone()
      await row('forms hook').locator('[data-act=test]').click()
      await expectText(page.locator('[data-answer=bad]'), '127.0.0.1')
      await shot('form-receiver-unreachable')
      await row('forms hook').locator('[data-act=edit]').click()
      await page.fill('[data-receiver-form] [name=url]', hooked.url)
      await answered('PUT', '/receivers/', 200, save)
      await gone()
      const before = hooked.got.length
      await row('forms hook').locator('[data-act=test]').click()
      await expectText(page.locator('[data-answer=ok]'), '200')
      if (!hooked.got[before]?.headers['x-portreeve-signature']) throw new Error('an edit without the secret lost it')
    })
    if (options.webhook) {
      await check(`receiver: the webhook at ${options.webhook} takes a test`, async () => {
        await addReceiver('webhook', { name: 'given hook', url: options.webhook })
        await answered('POST', '/receivers', 201, save)
        await gone()
        await row('given hook').locator('[data-act=test]').click()
        await expectText(page.locator('[data-answer=ok]'), 'given hook')
      })
    }
    if (options.smtp) {
      await check(`receiver: mail by ${options.smtp}, with the receipt of its server`, async () => {
        const at = options.smtp.lastIndexOf(':')
        await open('/settings', 'settings')
        await addReceiver('mail', { name: 'forms mail', host: options.smtp.slice(0, at), from: 'portreeve@lab.example', to: 'not an address' })
        await dialog.locator('[data-security]').click()
        await page.locator('.el-select-dropdown__item:visible', { hasText: 'none' }).click()
        await page.fill('[data-receiver-form] [name=port]', options.smtp.slice(at + 1))
        await answered('POST', '/receivers', 422, save)
        await fieldError('not')
        await page.fill('[data-receiver-form] [name=to]', 'soc@lab.example, duty@lab.example')
        await answered('POST', '/receivers', 201, save)
        await gone()
        await row('forms mail').locator('[data-act=test]').click()
        await expectText(page.locator('[data-answer=ok]'), '250')
        await shot('form-receiver-mail')
        await row('forms mail').locator('[data-act=edit]').click()
        await page.fill('[data-receiver-form] [name=port]', '9')
        await answered('PUT', '/receivers/', 200, save)
        await gone()
        await row('forms mail').locator('[data-act=test]').click()
        await expectText(page.locator('[data-answer=bad]'), '127.0.0.1')
        await shot('form-receiver-mail-refused')
        await row('forms mail').locator('[data-act=delete]').click()
        await answered('DELETE', '/receivers/', 204, yes)
        await row('forms mail').waitFor({ state: 'detached' })
      })
    }

    const setting = (name) => page.locator(`[data-field="${name}"] input`).first()
    const put = (status) => answered('PUT', '/settings', status, () => page.click('[data-save]'))
    await check('settings: policy, pace and hysteresis are saved; nonsense is objected to at its field', async () => {
      for (const [name, section, good, bad] of [
        ['alerts.group_wait', 'alerts', '1', '99999'],
        ['alerts.group_interval', 'alerts', '7', '9999999'],
        ['pace.per_target_pps', 'pace', '250', '99999999'],
        ['hysteresis.refused_count', 'hysteresis', '3', '5000'],
      ]) {
        await open(`/settings?tab=${section}`, 'settings')
        const before = await setting(name).inputValue()
        await setting(name).fill(bad)
        await setting(name).blur()
        if ((await setting(name).inputValue()) === bad) {
          await put(422)
          await expectText(page.locator(`[data-field="${name}"] .el-form-item__error`), /./)
          await shot(`form-settings-${section}`)
        } else console.log(`         ${name} does not let ${bad} be typed`)
        await setting(name).fill(good)
        await setting(name).blur()
        await put(200)
        await open(`/settings?tab=${section}`, 'settings')
        if ((await setting(name).inputValue()) !== good) throw new Error(`${name} is ${await setting(name).inputValue()} after the save`)
        await setting(name).fill(before)
        await setting(name).blur()
        await put(200)
      }
      // So that the alert of this walk leaves within the walk.
      await open('/settings?tab=alerts', 'settings')
      await setting('alerts.group_wait').fill('1')
      await setting('alerts.group_wait').blur()
      await put(200)
    })

    await check('users: made with a password shown once, edited, deleted', async () => {
      await open('/users', 'users')
      await page.click('[data-act=add]')
      await answered('POST', '/users', 422, save)
      await fieldError(/./)
      await page.fill('[data-user-form] [name=name]', 'forms-user')
      await page.fill('[data-user-form] [name=password]', 'short')
      await answered('POST', '/users', 422, save)
      await fieldError('10')
      await page.fill('[data-user-form] [name=password]', '')
      await answered('POST', '/users', 201, save)
      const secret = await page.locator('[data-secret]').innerText()
      if (secret.length < 10) throw new Error(`the initial password is ${secret.length} long`)
      await shot('form-user-made')
      await page.click('[data-stored]')
      await gone()
      if (await page.locator('[data-secret]:visible').count()) throw new Error('the password is still shown')
      await row('forms-user').locator('[data-act=edit]').click()
      await dialog.locator('.el-checkbox').click()
      await answered('PUT', '/users/', 200, save)
      await gone()
      await expectText(row('forms-user'), 'Disabled')
      await page.click('[data-act=add]')
      await page.fill('[data-user-form] [name=name]', 'forms-user')
      await answered('POST', '/users', 409, save)
      await dialog.locator('.error[role=alert], .el-form-item__error').first().waitFor()
      await page.keyboard.press('Escape')
      await gone()
      await row('forms-user').locator('[data-act=delete]').click()
      await answered('DELETE', '/users/', 204, yes)
      await row('forms-user').waitFor({ state: 'detached' })
      // The last administrator stays.
      await row('(you)').locator('[data-act=delete]').click()
      await answered('DELETE', '/users/', 409, yes)
      await page.locator('.el-message--error').waitFor()
      await shot('form-user-last-admin')
    })

    await check('tokens: the secret is shown once and works until revoked', async () => {
      await open('/users?tab=tokens', 'users')
      await page.click('[data-act=add]')
      await answered('POST', '/tokens', 422, save)
      await fieldError(/./)
      const name = `forms ${Date.now()}`
      await page.fill('[data-user-form] [name=name]', name)
      await answered('POST', '/tokens', 201, save)
      const secret = await page.locator('[data-secret]').innerText()
      const asked = () => fetch(new URL('/api/v1/session', walk.base), { headers: { authorization: `Bearer ${secret}` } }).then((r) => r.status)
      if ((await asked()) !== 200) throw new Error('the new token is not taken')
      await shot('form-token-made')
      await page.click('[data-stored]')
      await gone()
      await row(name).locator('[data-act=revoke]').click()
      await answered('DELETE', '/tokens/', 204, yes)
      await expectText(row(name), 'Revoked')
      if ((await asked()) !== 401) throw new Error('the revoked token is still taken')
    })

    const scan = async (range, ports) => {
      await page.click('[data-act=adhoc]')
      await dialog.waitFor()
      await page.fill('[data-task-form] textarea[name=ranges]', range)
      await choose(dialog, 'list')
      await page.fill('[data-task-form] input[name=ports]', ports)
    }
    await check('tasks: an ad-hoc scan is objected to, started and seen to its end', async () => {
      await open('/tasks?show=once', 'tasks')
      await scan('127.77.0.300', '16377')
      await answered('POST', '/tasks', 422, save)
      await fieldError('127.77.0.300')
      await shot('form-scan-bad')
      await page.fill('[data-task-form] textarea[name=ranges]', HOME)
      await page.fill('[data-task-form] input[name=ports]', '0-70000')
      await answered('POST', '/tasks', 422, save)
      await fieldError(/70000|port/)
      await page.fill('[data-task-form] input[name=ports]', `${PORT - 3}-${PORT + 3}`)
      await answered('POST', '/tasks', 201, save)
      await gone()
      await row(HOME).first().locator('.chip', { hasText: 'Finished' }).waitFor({ timeout: 60_000 })
      await row(HOME).first().click()
      await page.locator('tr.more', { hasText: 'Succeeded' }).waitFor()
      await shot('form-scan-done')
    })

    const exposed = (ip) => page.locator('tr[data-row]', { has: page.locator(`[data-endpoint="${ip}:${PORT}/tcp"]`) })
    await check('the redis on an odd port becomes a high-risk service, and the webhook is told', async () => {
      await open('/exposures?search=127.77.0.0/28', 'exposures')
      await exposed(HOME).locator('[data-risk="high-risk-service"]').waitFor({ timeout: 60_000 })
      for (let tries = 0; !hooked.got.some((g) => g.body.includes(HOME)); tries++) {
        if (tries > 300) throw new Error('no alert reached the webhook')
        await page.waitForTimeout(100)
      }
      await open('/alerts', 'alerts')
      await expectText(row(`${HOME}:${PORT}`), 'Notified')
      await tab('notifications')
      await expectText(row('forms hook'), 'Delivered')
      await expectText(row('forms hook'), '200')
      await row('forms hook').first().click()
      await page.locator(`tr.more [data-endpoint="${HOME}:${PORT}/tcp"]`).first().waitFor()
      await shot('form-notification')
    })

    await check('a change on the server arrives without a reload', async () => {
      await open('/exposures?search=127.77.0.0/28', 'exposures')
      await page.waitForSelector('[data-live].live')
      const other = await page.context().newPage()
      await other.goto(new URL('/tasks?show=once', walk.base).href)
      await other.waitForSelector('[data-page=tasks] [data-act=adhoc]')
      stops.push(await redis(LATER, PORT))
      await page.evaluate(() => (window.stayed = true))
      await other.click('[data-act=adhoc]')
      await other.fill('[data-task-form] textarea[name=ranges]', LATER)
      await other.locator('.el-radio-button:has(input[value="list"]):visible').click()
      await other.fill('[data-task-form] input[name=ports]', String(PORT))
      const began = Date.now()
      await other.locator('.el-dialog:visible [data-save]').click()
      await exposed(LATER).waitFor({ timeout: 60_000 })
      console.log(`         it arrived after ${((Date.now() - began) / 1000).toFixed(1)} s`)
      await other.close()
      if (!(await page.evaluate(() => window.stayed))) throw new Error('the page was loaded anew')
    })

    await check('a failed notification says why and is sent on retry', async () => {
      hooked.status = 503
      const row503 = async () => {
        await open('/alerts?tab=notifications', 'alerts')
        return row('forms hook').filter({ hasText: '503' }).first()
      }
      // The second redis alerts while the sink is full, unless its alert has left already; closing tells as well.
      stops.push(await redis('127.77.0.7', PORT))
      await open('/tasks?show=once', 'tasks')
      await scan('127.77.0.7', String(PORT))
      await answered('POST', '/tasks', 201, save)
      await gone()
      let failed
      for (let tries = 0; ; tries++) {
        failed = await row503()
        if (await failed.count()) break
        if (tries > 30) throw new Error('no notification failed')
        await page.waitForTimeout(1_000)
      }
      await shot('form-notification-failed')
      hooked.status = 200
      const id = await failed.getAttribute('data-row')
      await answered('POST', '/retry', 200, () => failed.locator('[data-act=retry]').click())
      await expectText(page.locator(`tr[data-row="${id}"]`), 'Delivered')
    })

    const decide = async (kind, note) => {
      await page.waitForSelector('[data-disposition-form]')
      if (note) await page.fill('[data-disposition-form] textarea', note)
      await save()
      await gone()
    }
    const mark = (ip, kind) => exposed(ip).locator(`[data-disposition="${kind}"]`).waitFor()
    await check('dispositions: register, accept, false positive, back, and many at once', async () => {
      await open('/exposures?phase=any&search=127.77.0.0/28', 'exposures')
      await exposed(HOME).locator('[data-act=register]').click()
      await decide('registered', 'needed')
      await mark(HOME, 'registered')
      await exposed(HOME).locator('[data-act=more]').click()
      await menu('[data-command=accepted]')
      await answered('PUT', '/disposition', 422, save)
      await fieldError(/./)
      await shot('form-disposition-no-note')
      await decide('accepted', 'known risk')
      await mark(HOME, 'accepted')
      await exposed(HOME).locator('[data-act=more]').click()
      await menu('[data-command=false-positive]')
      await decide('false-positive', 'a lab')
      await mark(HOME, 'false-positive')
      await exposed(HOME).locator('[data-act=more]').click()
      await menu('[data-command=unreviewed]')
      await decide('unreviewed')
      await mark(HOME, 'unreviewed')
      for (const ip of [HOME, LATER]) await exposed(ip).locator('.el-checkbox').click()
      await page.click('[data-bulk=registered]')
      await shot('form-bulk')
      await decide('registered', 'both')
      for (const ip of [HOME, LATER]) await mark(ip, 'registered')
      await page.locator('.bulk').waitFor({ state: 'detached' })
      for (const ip of [HOME, LATER]) await exposed(ip).locator('.el-checkbox').click()
      await page.click('[data-bulk=unreviewed]')
      await decide('unreviewed')
      for (const ip of [HOME, LATER]) await mark(ip, 'unreviewed')
    })

    const name = `forms ${Date.now()}`
    await check('tasks: made, run, stopped, paused, resumed, edited, deleted', async () => {
      await open('/tasks', 'tasks')
      await page.click('[data-act=new]')
      await page.fill('[data-task-form] input[name=name]', name)
      await choose(dialog, 'ranges')
      await page.fill('[data-task-form] textarea[name=ranges]', RANGE)
      await choose(dialog, 'cron')
      await page.fill('[data-task-form] input[name=expression]', 'at noon')
      await answered('POST', '/tasks', 422, save)
      await fieldError('at noon')
      await shot('form-task-cron')
      await page.fill('[data-task-form] input[name=expression]', '0 3 * * *')
      await choose(dialog, 'all')
      await dialog.locator('button', { hasText: 'More options' }).click()
      // Slow enough that there is something to stop.
      await dialog.locator('.two input').first().fill('50')
      await answered('POST', '/tasks', 201, save)
      await gone()
      await answered('POST', '/run', 200, () => row(name).locator('[data-act=run]').click())
      await row(name).locator('[data-act=cancel]').waitFor()
      await shot('form-task-running')
      await answered('POST', '/cancel', 200, () => row(name).locator('[data-act=cancel]').click())
      await expectText(row(name), 'Stopped')
      await row(name).locator('[data-act=more]').click()
      await answered('POST', '/pause', 200, () => menu('[data-command=pause]'))
      await expectText(row(name), 'Paused')
      if (await row(name).locator('[data-act=run]').isEnabled()) throw new Error('a paused task offers to run')
      await row(name).locator('[data-act=more]').click()
      await answered('POST', '/resume', 200, () => menu('[data-command=resume]'))
      await row(name).locator('.chip', { hasText: 'Paused' }).waitFor({ state: 'detached' })
      await row(name).locator('[data-act=more]').click()
      await menu('[data-command=edit]')
      await page.fill('[data-task-form] input[name=name]', `${name} edited`)
      await answered('PUT', '/tasks/', 200, save)
      await gone()
      await row(`${name} edited`).locator('[data-act=more]').click()
      await menu('[data-command=delete]')
      await answered('DELETE', '/tasks/', 204, yes)
      await row(name).waitFor({ state: 'detached' })
    })

    await check('presets: one after the other', async () => {
      await open('/tasks', 'tasks')
      for (const [preset, tasks] of [['daily-weekly', 2], ['standard', 9]]) {
        await page.click('[data-act=preset]')
        await menu(`[data-preset=${preset}]`)
        const made = await (await answered('POST', `/presets/${preset}`, 200, yes)).json()
        if (made.length < tasks) throw new Error(`${preset} has ${made.length} tasks`)
        await page.waitForFunction((n) => document.querySelectorAll('tbody tr[data-row]').length >= n, tasks)
        await shot(`form-preset-${preset}`)
      }
    })

    await check('approvals: objected to below the ceiling, asked for under it, granted by another person, revoked', async () => {
      await open('/approvals', 'approvals')
      await page.locator('[data-act=add]').first().click()
      await page.fill('[data-approval-form] input[name=range]', HOME)
      await page.fill('[data-approval-form] input[name=owner]', 'alice')
      await page.fill('[data-approval-form] input[name=reason]', 'CHG-1')
      await answered('POST', '/approvals', 422, save)
      await fieldError('intrusive')
      await shot('form-approval-ceiling')
      await page.keyboard.press('Escape')
      await gone()
      await open('/assets', 'assets')
      await row(RANGE).locator('[data-act=edit]').click()
      await dialog.locator('[data-ceiling]').click()
      await page.locator('.el-select-dropdown__item:visible', { hasText: 'Intrusive' }).click()
      await answered('PUT', '/assets/', 200, save)
      await gone()
      await open('/approvals', 'approvals')
      await page.locator('[data-act=add]').first().click()
      await page.fill('[data-approval-form] input[name=range]', HOME)
      await page.fill('[data-approval-form] input[name=owner]', 'alice')
      await page.fill('[data-approval-form] input[name=reason]', 'CHG-1')
      await choose(dialog, '2')
      await answered('POST', '/approvals', 201, save)
      await gone()
      await row(HOME).locator('[data-state=requested]').waitFor()
      await row(HOME).locator('[data-act=grant]:disabled').waitFor()
      await shot('form-approval-waits')
      await second(page, async (other) => {
        await other.goto(new URL('/approvals?tab=waiting', base).href)
        await other.locator('tbody tr[data-row]', { hasText: HOME }).locator('[data-act=grant]').click()
        const granted = other.waitForResponse((r) => r.url().includes('/grant'))
        await other.locator('.el-message-box:visible .el-button--primary').click()
        if ((await granted).status() !== 200) throw new Error(`the second person was answered ${(await granted).status()}`)
      })
      await tab('active')
      await row(HOME).locator('[data-state=active]').waitFor()
      await expectText(row(HOME).locator('[data-granted]'), 'user:grace')
      await shot('form-approval')
      await row(HOME).locator('[data-act=revoke]').click()
      await answered('POST', '/revoke', 200, yes)
      await row(HOME).waitFor({ state: 'detached' })
      await tab('others')
      await row(HOME).locator('[data-state=revoked]').waitFor()
    })

    await check('audit: what was just done is there, and the filters find it', async () => {
      await open('/audit', 'audit')
      await page.fill('input[name=action]', 'token.revoke')
      await page.keyboard.press('Enter')
      await page.waitForURL(/action=token\.revoke/)
      await page.waitForFunction(() => [...document.querySelectorAll('tbody tr[data-row]')].every((r) => r.innerText.includes('Token revoked')))
      if (!(await page.locator('tbody tr[data-row]').count())) throw new Error('no revocation is on record')
      await page.fill('input[name=actor]', 'nobody-at-all')
      await page.keyboard.press('Enter')
      await page.waitForURL(/actor=nobody/)
      await page.locator('tbody tr[data-row]').first().waitFor({ state: 'detached' })
      await page.fill('input[name=actor]', '')
      await page.keyboard.press('Enter')
      await page.locator('tbody tr[data-row]').first().click()
      await page.locator('tr.more pre').waitFor()
      await shot('form-audit')
      await page.fill('input[name=action]', '')
      await page.keyboard.press('Enter')
      // Every action has a name in the reader's language.
      await page.waitForFunction(() => document.querySelectorAll('tbody tr[data-row]').length > 5)
      const bare = await page.evaluate(() => [...document.querySelectorAll('tbody tr[data-row] td:nth-child(5)')].map((td) => td.innerText.trim()).filter((w) => /^[a-z-]+\.[a-z-]+$/.test(w)))
      if (bare.length) throw new Error(`without a name: ${[...new Set(bare)].join(', ')}`)
    })

    await check('events: what happened to the redis is there, and the filters find it', async () => {
      await open('/events', 'events')
      await page.fill('input[name=ip]', HOME)
      await page.keyboard.press('Enter')
      await page.waitForURL(/ip=127/)
      await page.waitForFunction((ip) => [...document.querySelectorAll('tbody tr[data-row]')].every((r) => r.innerText.includes(ip)), HOME)
      await page.goto(`${page.url()}&kind=endpoint.opened`)
      await row('Confirmed open').first().locator('.chevron').click()
      await page.locator('tr.more', { hasText: 'Happened after' }).waitFor()
      if ((await page.locator('tbody tr[data-row]').count()) !== 1) throw new Error('one opening happened, others are shown')
      await shot('form-events')
    })

    await check('receiver and asset are deleted', async () => {
      await open('/settings', 'settings')
      for (const receiver of ['forms hook', 'given hook']) {
        if (!(await row(receiver).count())) continue
        await row(receiver).locator('[data-act=delete]').click()
        await answered('DELETE', '/receivers/', 204, yes)
        await row(receiver).waitFor({ state: 'detached' })
      }
      await open('/assets', 'assets')
      await row(RANGE).locator('[data-act=delete]').click()
      await answered('DELETE', '/assets/', 204, yes)
      await row(RANGE).waitFor({ state: 'detached' })
    })
  } finally {
    for (const stop of stops) stop()
  }
}
