// The server's objection to a field, in the reader's language. The server says it in English and names the word; the code says
// which objection it is, so that other languages can say the same about the same word.
import { i18n } from '@/i18n'

interface Objection {
  code: string
  message: string
}

export function objection({ code, message }: Objection): string {
  const { locale, t, te } = i18n.global as unknown as { locale: { value: string }; t: (key: string, named: Record<string, string>) => string; te: (key: string) => boolean }
  const key = `objection.${code}`
  if (locale.value === 'en' || !te(key)) return message
  const word = /`([^`]+)`/.exec(message)?.[1]
  const [, low, high] = /between (.+?) and (.+)$/.exec(message) ?? []
  if (code === 'out-of-range' && !(low && high)) return message
  return t(key, { word: word ? `“${word}” ` : '', low: low ?? '', high: high ?? '' })
}
