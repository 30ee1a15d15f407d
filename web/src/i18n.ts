// Two languages with the same keys; only the one in use is loaded.
import { createI18n } from 'vue-i18n'

export type Locale = 'zh-CN' | 'en'

export const i18n = createI18n({ legacy: false, locale: 'zh-CN', fallbackLocale: false, messages: {} as Record<string, Record<string, never>> })

export async function loadLocale(locale: Locale) {
  if (i18n.global.availableLocales.includes(locale as never) && Object.keys(i18n.global.getLocaleMessage(locale)).length) return
  const messages = locale === 'en' ? await import('./locales/en') : await import('./locales/zh-CN')
  i18n.global.setLocaleMessage(locale, messages.default as never)
}
