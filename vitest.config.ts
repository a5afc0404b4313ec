import { defineConfig } from 'vitest/config'
import { ClosingLine } from './test/closing-line.ts'

// `midflight-source` makes the packages resolve to their TypeScript, so that tests run on what was just edited.
export default defineConfig({
  resolve: { conditions: ['midflight-source'] },
  ssr: { resolve: { conditions: ['midflight-source'] } },
  test: {
    include: ['packages/*/test/**/*.test.ts', 'examples/*/test/**/*.test.ts', 'test/**/*.test.ts'],
    testTimeout: 120_000,
    hookTimeout: 120_000,
    maxWorkers: 2,
    reporters: ['default', new ClosingLine()],
  },
})
