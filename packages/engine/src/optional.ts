/** Optional peer dependencies: packages that come when they are first used, where somebody has installed them. */

/** @param absent makes the error of a package that is not installed; any other goes by as it is. */
export async function optional<T>(load: () => Promise<T>, absent: (cause: Error) => Error): Promise<T> {
  try {
    return await load()
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ERR_MODULE_NOT_FOUND')) throw error
    throw absent(error)
  }
}
