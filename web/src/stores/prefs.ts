// What this browser prefers: language, theme, a narrow navigation. Kept in the browser, never on the server.
import { defineStore } from 'pinia'
import { ref, watch } from 'vue'
import { i18n, loadLocale, type Locale } from '@/i18n'

export type Theme = 'light' | 'dark' | 'system'

function read(key: string): string | null {
  try {
    return localStorage.getItem(`portreeve.${key}`)
  } catch {
    return null
  }
}
function write(key: string, value: string) {
  try {
    localStorage.setItem(`portreeve.${key}`, value)
  } catch {
    // Private windows may refuse; the preference then lasts as long as the page.
  }
}

/** zh-CN unless this browser asked for something else before, or speaks no Chinese. */
export function preferredLocale(stored: string | null, languages: readonly string[]): Locale {
  if (stored === 'zh-CN' || stored === 'en') return stored
  return languages[0]?.toLowerCase().startsWith('zh') === false ? 'en' : 'zh-CN'
}

export const usePrefs = defineStore('prefs', () => {
  const locale = ref<Locale>(preferredLocale(read('locale'), navigator.languages ?? [navigator.language]))
  const theme = ref<Theme>((read('theme') as Theme | null) ?? 'system')
  // A small window starts with the narrow navigation, unless somebody has chosen.
  const narrow = ref(read('narrow') === '1' || (read('narrow') === null && innerWidth < 1150))
  const system = matchMedia('(prefers-color-scheme: dark)')
  const dark = ref(false)

  function applyTheme() {
    dark.value = theme.value === 'dark' || (theme.value === 'system' && system.matches)
    document.documentElement.classList.toggle('dark', dark.value)
  }
  async function setLocale(next: Locale) {
    await loadLocale(next)
    i18n.global.locale.value = next
    document.documentElement.lang = next
    locale.value = next
    write('locale', next)
  }
  watch(
    theme,
    (value) => {
      write('theme', value)
      applyTheme()
    },
    { immediate: true },
  )
  watch(narrow, (value) => write('narrow', value ? '1' : '0'))
  system.addEventListener('change', applyTheme)

  return { locale, theme, narrow, dark, setLocale }
})
