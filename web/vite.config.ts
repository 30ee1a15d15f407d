import { fileURLToPath } from 'node:url'
import vue from '@vitejs/plugin-vue'
import Components from 'unplugin-vue-components/vite'
import { ElementPlusResolver } from 'unplugin-vue-components/resolvers'
import { defineConfig } from 'vitest/config'
import { sourceHashPlugin } from './build/source-hash'

const root = fileURLToPath(new URL('.', import.meta.url))
const server = process.env.PORTREEVE_API ?? 'http://127.0.0.1:8460'

export default defineConfig({
  plugins: [
    vue(),
    // Only the Element Plus components that a template names end up in the bundle.
    Components({ dirs: [], dts: false, resolvers: [ElementPlusResolver({ importStyle: process.env.VITEST ? false : 'css' })] }),
    sourceHashPlugin(root),
  ],
  resolve: { alias: { '@': fileURLToPath(new URL('./src', import.meta.url)) } },
  define: { __VUE_I18N_FULL_INSTALL__: false, __VUE_I18N_LEGACY_API__: false, __INTLIFY_PROD_DEVTOOLS__: false },
  server: { port: 5173, proxy: { '/api': { target: server }, '/healthz': { target: server }, '/metrics': { target: server } } },
  build: { target: 'es2022', assetsInlineLimit: 0, chunkSizeWarningLimit: 700, reportCompressedSize: true },
  test: {
    environment: 'happy-dom',
    include: ['tests/**/*.test.ts'],
    server: { deps: { inline: ['element-plus'] } },
  },
})
