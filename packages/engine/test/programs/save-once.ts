// Saves one configuration.
import { lastGoodIn } from '../../src/last-good.ts'

await lastGoodIn(process.argv[2] as string).save({ release: 3 }, [])
