import { mount } from '@vue/test-utils'
import { createPinia, setActivePinia } from 'pinia'
import ElementPlus from 'element-plus'
import { beforeEach, describe, expect, it, vi } from 'vitest'
import { nextTick } from 'vue'
import { api } from '@/api'
import ApprovalDialog from '@/components/ApprovalDialog.vue'
import { i18n } from '@/i18n'
import { spanObjections } from '@/lib/approval'
import { usePrefs } from '@/stores/prefs'

const NOW = Date.parse('2026-11-21T08:00:00Z')
const days = (n: number) => new Date(NOW + n * 86_400_000)

describe('the span of an approval', () => {
  it.each([
    [null, days(7), {}],
    [days(2), days(9), {}],
    [null, days(30), {}],
    [days(60), days(90), {}],
    // Picked to the minute, so a little in the past by now.
    [new Date(NOW - 30_000), days(1), {}],
    [days(-1), days(1), { not_before: 'start-past' }],
    [days(91), days(92), { not_before: 'start-far' }],
    [null, null, { until: 'end-missing' }],
    [null, days(-1), { until: 'end-past' }],
    [days(3), days(2), { until: 'end-first' }],
    [days(3), days(3), { until: 'end-first' }],
    [null, new Date(+days(30) + 1), { until: 'too-long' }],
    [days(5), new Date(+days(35) + 1), { until: 'too-long' }],
  ])('from %o to %o is objected to as %o', (start, end, objections) => {
    expect(spanObjections(start, end, NOW)).toEqual(objections)
  })
})

// The whole form with its pickers is mounted, which takes seconds on a busy machine.
describe('the form of an approval', { timeout: 60_000 }, () => {
  beforeEach(async () => {
    setActivePinia(createPinia())
    await usePrefs().setLocale('en')
  })
  const form = async () => {
    const wrapper = mount(ApprovalDialog as never, { props: { modelValue: false } as never, global: { plugins: [i18n, ElementPlus], stubs: { teleport: true, transition: true } } })
    await wrapper.setProps({ modelValue: true } as never)
    await nextTick()
    return wrapper
  }
  const pick = async (wrapper: Awaited<ReturnType<typeof form>>, name: string, at: Date | null) => {
    const picker = wrapper.findAllComponents({ name: 'ElDatePicker' }).find((p) => p.attributes('name') === name || p.props('name') === name)!
    picker.vm.$emit('update:modelValue', at)
    await nextTick()
  }

  it('says what is wrong with the span in the language of the reader, and asks nobody', async () => {
    const create = vi.spyOn(api.approvals, 'create')
    const wrapper = await form()
    await pick(wrapper, 'not_before', new Date(Date.now() + 9 * 86_400_000))
    await wrapper.find('[data-save]').trigger('click')
    await vi.waitFor(() => expect(wrapper.text()).toContain('The end has to come after the start'))
    await usePrefs().setLocale('zh-CN')
    await wrapper.find('[data-save]').trigger('click')
    await vi.waitFor(() => expect(wrapper.text()).toContain('结束时间必须晚于开始时间'))
    expect(create).not.toHaveBeenCalled()
    create.mockRestore()
  })

  it('sends the start that was picked, and none when it is left empty', async () => {
    const create = vi.spyOn(api.approvals, 'create').mockResolvedValue({} as never)
    const wrapper = await form()
    await wrapper.find('[data-save]').trigger('click')
    expect(create.mock.calls[0]![0].not_before).toBeUndefined()
    const start = new Date(Date.now() + 2 * 86_400_000)
    await wrapper.setProps({ modelValue: true } as never)
    await pick(wrapper, 'not_before', start)
    await wrapper.find('[data-save]').trigger('click')
    expect(create.mock.calls[1]![0].not_before).toBe(start.toISOString())
    create.mockRestore()
  })
})
