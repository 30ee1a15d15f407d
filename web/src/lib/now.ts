// One ticking present for the whole console, so that all relative times move together.
import { ref } from 'vue'

export const now = ref(Date.now())
// Ten seconds: relative times count seconds only within the first minute.
setInterval(() => (now.value = Date.now()), 10_000)
