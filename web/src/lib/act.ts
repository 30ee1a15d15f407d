// Small acts with a plain outcome: done, or the server's reason.
import { ElMessage, ElMessageBox } from 'element-plus'
import { asProblem } from '@/api/problem'
import { i18n } from '@/i18n'
import { objection } from '@/lib/objection'

export function said(problem: unknown): string {
  const p = asProblem(problem)
  const words = i18n.global as unknown as { t: (key: string) => string; te: (key: string) => boolean }
  const title = words.te(`problem.${p.code}`) ? words.t(`problem.${p.code}`) : p.title
  const fields = p.fields.map(objection).join('; ')
  return [p.detail || fields || title, p.hint].filter(Boolean).join(' — ')
}

/** Runs a change and says how it went; undefined when it failed. */
export async function act<R>(change: () => Promise<R>, done?: string): Promise<R | undefined> {
  try {
    const result = await change()
    if (done) ElMessage.success(done)
    return result
  } catch (error) {
    ElMessage({ type: 'error', message: said(error), duration: 6_000, showClose: true })
    return undefined
  }
}

/** Asks before something that cannot be taken back. */
export async function sure(title: string, text: string, button: string): Promise<boolean> {
  try {
    await ElMessageBox.confirm(text, title, { confirmButtonText: button, cancelButtonText: i18n.global.t('action.cancel'), type: 'warning' })
    return true
  } catch {
    return false
  }
}
